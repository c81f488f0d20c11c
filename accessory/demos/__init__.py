"""Demos: the drawing canvas, and what stands around it."""
