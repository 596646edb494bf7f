"""Results of a study, read from its store: the numbers behind reports, audits and comparisons."""
