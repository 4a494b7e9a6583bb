"""Engines that turn preprocessed arrays into logits; numpy in, numpy out."""
