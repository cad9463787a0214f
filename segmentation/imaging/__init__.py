"""Volumes, their files and geometry, measures and colors of masks.

Imports `common` alone.
"""
