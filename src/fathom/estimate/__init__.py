"""Estimates of a study before it runs: trainings, labels, disk space and time."""
