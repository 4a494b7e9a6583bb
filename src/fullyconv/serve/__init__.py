"""Labelling over HTTP, and pages to look at labels with."""
