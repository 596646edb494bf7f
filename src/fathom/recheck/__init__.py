"""Committed rounds computed again and compared with what the store holds."""
