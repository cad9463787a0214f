"""The verbs of `tak`, grouped by what they work on; each module registers its own."""
