"""Sweeps of recipes and matrices of wordings.

Imports `scoring`, `texts` and below.
"""
