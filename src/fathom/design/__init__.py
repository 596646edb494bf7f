"""The runs that belong together: study files, subsets, published HPs, freezes and statistical power."""
