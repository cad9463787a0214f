"""Prediction: sliding window, masks on the scan's grid, probability maps, DICOM SEG.

Imports `data`, `imaging`, `losses` and `common`.
"""
