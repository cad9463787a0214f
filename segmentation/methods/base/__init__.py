"""Parts of methods: the interface, teacher, co-training, ramps, cubes, blocks.

Imports `networks` and `losses`.
"""
