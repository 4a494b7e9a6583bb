"""Films and cameras."""
