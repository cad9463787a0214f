"""Made-up CT scans: a population of bodies and a scanner.

Imports `data`, `anatomy`, `imaging` and `common`.
"""
