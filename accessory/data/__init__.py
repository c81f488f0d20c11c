"""From annotation files to batches."""
