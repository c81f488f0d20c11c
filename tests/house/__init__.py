"""The laws of the house, held by tests: see CONTRIBUTING.md."""
