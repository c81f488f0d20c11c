"""The model behind HTTP: pictures, marks and questions come in as JSON, answers go out."""
