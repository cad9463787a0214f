"""V-Net, heads, alignment, and their fast kernels.

Imports nothing of the project but `losses`.
"""
