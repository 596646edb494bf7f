"""Which runs belong together: study files, subsets, published HPs, freezes and statistical power."""
