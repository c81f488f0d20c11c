"""Benchmarks: each measures side by side in one run and writes a dated record."""
