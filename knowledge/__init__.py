"""Organ names in, labeled text vectors out."""
