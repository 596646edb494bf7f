"""A store read back once: what the runs hold, ready for reports, audits and comparisons."""
