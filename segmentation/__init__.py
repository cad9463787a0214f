"""From volumes and vectors to a trained method, its predictions and their scores.

Knows nothing of `knowledge` and `pipeline`.
"""
