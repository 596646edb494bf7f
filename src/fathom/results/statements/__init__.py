"""Statements about a study: stated claims, changes of its plan, and its statistics as data."""
