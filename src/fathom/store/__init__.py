"""Results on disk: atomic files and locks, checked records, one folder per run, one immutable file per round."""
