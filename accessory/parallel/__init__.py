"""How a model is laid out over processes for training, applied from outside."""
