"""HDF5 banks of text vectors: encode, read, merge, controls, statistics, plots, tensors.

Imports `asking`, `descriptions`, `encoders` and `common`.
"""
