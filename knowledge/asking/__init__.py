"""Asking until an answer is usable: validity, parallel calls, assembly, shortening.

Imports `questions`, `providers`, `descriptions` and `common`.
"""
