"""Studies: files, cells, stages, their store and their plan.

Imports `scoring`, `texts` and below.
"""
