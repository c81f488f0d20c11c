"""The training engine: one trainer for all recipes."""
