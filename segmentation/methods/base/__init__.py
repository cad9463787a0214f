"""What methods are built from: the interface, teacher, co-training, ramps, cubes, blocks.

Imports `networks` and `losses`.
"""
