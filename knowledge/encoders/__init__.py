"""Registry of text encoders: one module per encoder, its name is the choice."""
