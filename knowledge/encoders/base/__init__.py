"""Parts of encoders: the interface, the hub, damaged weights.

Imports `common` alone.
"""
