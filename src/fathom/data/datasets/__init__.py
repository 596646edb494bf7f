"""The datasets, one file per source."""
