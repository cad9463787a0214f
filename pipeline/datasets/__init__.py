"""Opening of data: descriptors, organ lists, labeled scans, protocols, inspection, splits.

Imports `pictures`, `config`, `files` and `terminal`.
"""
