"""Prediction on many machines: addresses in, addresses out, one model in each worker."""
