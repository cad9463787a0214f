"""The folder of a run and everything that opens, trains, resumes or packs it.

Imports `datasets`, `config`, `files` and `terminal`.
"""
