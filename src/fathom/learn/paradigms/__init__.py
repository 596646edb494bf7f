"""Training paradigms: standard, self-supervised, semi-supervised, and a head on frozen features."""
