"""Runs are disturbed on purpose, and what they leave is compared with what a run in peace leaves."""
