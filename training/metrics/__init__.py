"""Scores of the benchmarks, as their authors define them; every file names its source. Imports nothing of training."""
