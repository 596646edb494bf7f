"""The version of the distribution; the build and the records of environments read it here."""

__version__ = "0.1.0"
