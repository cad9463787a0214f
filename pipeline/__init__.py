"""Reads files, joins knowledge and segmentation, and speaks to the person at the terminal."""
