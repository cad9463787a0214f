"""The knowledge stage with files and services: asking, encoders, tables.

Imports `datasets`, `config`, `files` and `terminal`.
"""
