"""Where groups wait between rollouts and learner: the ledger and the queue. Imports nothing of rollout or engine."""
