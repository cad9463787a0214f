"""Verification of descriptions: claims tested on labeled scans, sides, agreement of samples.

Imports `descriptions` and `common`.
"""
