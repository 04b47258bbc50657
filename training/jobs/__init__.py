"""Whole jobs, one a command: what a command calls after parsing. Imports learner, run, evaluation and data."""
