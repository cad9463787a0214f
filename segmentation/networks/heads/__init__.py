"""Registry of segmentation heads: one module per head, its name is the choice."""
