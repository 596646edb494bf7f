"""The evaluation protocol: split, oracle, HP search, rounds, pool query and metrics (paper Sec. 2.1 and 3)."""
