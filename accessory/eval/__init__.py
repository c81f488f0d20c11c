"""Evaluation: benchmark items → predictions → scores → report."""
