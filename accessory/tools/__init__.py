"""Small commands around the data and the model."""
