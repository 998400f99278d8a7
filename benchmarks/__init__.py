"""Benchmarks: each prints its results as JSON lines, a ratio against a baseline measured in the same run."""
