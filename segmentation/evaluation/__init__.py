"""Metrics by several rules, surface distances, statistics.

Imports `common` alone.
"""
