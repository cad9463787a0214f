"""Recipes: schema, files, options of the free choices, registries.

Imports `files`.
"""
