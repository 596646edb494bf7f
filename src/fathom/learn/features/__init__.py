"""Backbones and their features: timm, torchvision, encoders of our own, precomputed files."""
