"""Augmentation on the device: families, RandAugment, pixel operations, SimCLR views."""
