"""Metrics: what an answer is worth, each with the source of its definition."""
