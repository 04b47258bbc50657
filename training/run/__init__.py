"""What surrounds a run: cluster, checkpoints, logs, preflight, report. Imports evaluation and data."""
