"""Strict models, atomic writes and process pools; imports nothing of the project."""
