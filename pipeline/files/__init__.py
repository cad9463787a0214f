"""Kinds of files, places for outputs, files that come with tak-seg.

Imports `knowledge.common` alone.
"""
