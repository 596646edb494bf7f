"""The training loop: steps, mini-batches, optimizer, CUDA graphs, checks for non-finite values."""
