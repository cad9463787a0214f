"""Descriptors drafted from folders of scans and masks: measured, planned, written with reasons.

Imports the modules of `pipeline.datasets` and `segmentation.data`.
"""
