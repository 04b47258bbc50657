"""Measuring a policy: a run's own held-out sets, and the benchmarks. Imports metrics and data."""
