"""Where a run starts: resumed, extended, with trained weights, or adopted from released ones."""
