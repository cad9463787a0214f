"""Volumes and vectors in, a trained segmentation method out."""
