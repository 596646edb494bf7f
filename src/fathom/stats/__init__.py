"""Budget curves, intervals, tests, the penalty matrix and label savings, from numpy and scipy alone."""
