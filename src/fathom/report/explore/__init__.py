"""Interactive part of a report: the data and scripts of the section "Explore"."""
