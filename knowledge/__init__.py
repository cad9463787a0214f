"""From organ names to labeled text vectors: questions, models, descriptions, checks, banks.

Knows nothing of `segmentation` and `pipeline`.
"""
