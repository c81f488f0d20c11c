"""Raw input → ModelInputs: pictures, marks and conversations; pure functions that never change their arguments."""
