"""Estimates of what a study takes before it runs: trainings, labels, disk space and time."""
