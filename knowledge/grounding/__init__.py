"""Whether descriptions are true: claims tested on labeled scans, sides, agreement of samples.

Imports `descriptions` and `common`.
"""
