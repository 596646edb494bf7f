"""Query methods, which choose the samples to label next, and the view of the pool that they may see."""
