"""Looking at training data before training on it: faults by name, figures per source, pictures with their marks."""
