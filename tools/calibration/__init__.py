"""Simulated studies whose truth is known, sent through the functions of the report (`docs/statistics.md`)."""
