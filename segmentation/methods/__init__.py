"""Registry of semi-supervised methods: one module per method, its name is the choice."""
