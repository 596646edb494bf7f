"""What is labeled, and how much: datasets, their images, splits and label regimes."""
