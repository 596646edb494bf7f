"""This machine: paths, storage, software environment, and checks of all three."""
