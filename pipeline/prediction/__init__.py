"""Scans in, masks out: predictor, targets, outputs.

Imports `runs` and below.
"""
