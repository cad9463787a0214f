"""One file per semi-supervised method; the folder is the registry."""
