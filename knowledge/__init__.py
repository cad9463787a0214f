"""Knowledge: organ names in, labeled text vectors out (describe, check, encode, compare)."""
