"""Slices with organs in color: overlays and contact sheets.

Imports `files` and below.
"""
