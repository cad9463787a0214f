"""The network and the heads that it can carry."""
