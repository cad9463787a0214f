"""The training loop: patches, checkpoints, log, trackers, monitor, process settings.

Imports `methods`, `data` and below.
"""
