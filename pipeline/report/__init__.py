"""The report of runs: one HTML page and its figures.

Imports `scoring` and below.
"""
