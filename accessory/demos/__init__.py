"""The web demo: draw on a picture and talk about what was drawn; `python -m accessory.demos --checkpoint DIR`."""
