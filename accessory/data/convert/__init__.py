"""Converters: annotations that others publish → region items in our annotation form."""
