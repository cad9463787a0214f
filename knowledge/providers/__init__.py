"""Registry of language model services: one module per provider, its name is the choice."""
