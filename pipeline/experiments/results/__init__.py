"""Results of a study: statistics, tables and files.

Imports the modules of `experiments` itself and below.
"""
