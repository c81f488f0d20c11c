"""Everything around the model: training, data, evaluation, demos and serving."""
