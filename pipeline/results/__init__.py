"""Scores of an evaluation, and the only reader and writer of their files.

Imports nothing else of `pipeline`.
"""
