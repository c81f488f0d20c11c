"""Suites: one class per way of scoring a benchmark, as update / compute / reset."""
