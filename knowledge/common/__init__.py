"""Strict models, files, digests and name suggestions; imports nothing of the project."""
