"""Distributed set-up, seeds and run logs."""
