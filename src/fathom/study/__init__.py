"""What the runs say: designs, curves, tests, figures and the report. Free of torch."""
