"""What encoders are built from: the interface, the hub, damaged weights.

Imports `common` alone.
"""
