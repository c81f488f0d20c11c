"""Answers from a model: the key-value cache, sampling, stop strings and the decoding loop."""
