"""Surfaces of organs: meshes, their packing for the page, and still pictures of them."""
