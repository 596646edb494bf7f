"""The published numbers of Lüth et al. (NeurIPS 2023) as data, and a comparison of a study with them."""
