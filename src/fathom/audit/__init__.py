"""Audit of studies: rules of the five pitfalls and of integrity, for stores and for published studies."""
