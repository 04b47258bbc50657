"""Scores of the benchmarks, as their authors define them; every file says where it follows whom."""
