"""Which samples to label next: the query methods and the view of the pool that they may see."""
