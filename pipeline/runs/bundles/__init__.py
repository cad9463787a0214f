"""Bundles: a trained network with its texts, scores and model card as one file."""
