"""Model families: how each writes pictures into prompts, how its learner computes. Imports nothing of the project."""
