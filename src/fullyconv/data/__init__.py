"""Data sets of pictures and label files, their augmentation, and how training draws from them."""
