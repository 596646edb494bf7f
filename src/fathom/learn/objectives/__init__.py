"""Losses of the paradigms: cross-entropy, SimCLR and FixMatch."""
