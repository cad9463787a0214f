"""Registry of alignments of text and features: one module each, its name is the choice."""
