"""The policy's engine: vLLM and the weights it receives. Imports the rollout's and queue's data, never their actors."""
