"""Language model services, one file each; a file's name is the provider's name."""
