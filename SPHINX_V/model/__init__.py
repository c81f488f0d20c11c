"""The model: tensors in, tensors out; no files, no process groups, no tokenizer."""
