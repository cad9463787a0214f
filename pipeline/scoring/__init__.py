"""Evaluations: scoring, result files, comparison, published numbers, tables.

Imports `runs` and below.
"""
