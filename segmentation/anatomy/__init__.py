"""The mean body: organ shapes and places, for phantoms and for finding axes.

Imports nothing of the project.
"""
