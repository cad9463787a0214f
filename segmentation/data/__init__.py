"""Data sets: descriptors, splits, layouts, preparation, prepared files, checks.

Imports `imaging`, `anatomy`, `evaluation` and `common`.
"""
