"""How a classifier is trained on what is labeled: networks, augmentation, the training loop, the paradigms."""
