"""One training on several processes: their exchange, and passes that they share out."""
