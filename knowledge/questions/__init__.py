"""Questions to models: templates, the format of answers, pictures of organs.

Imports `providers`, `descriptions` and `common`.
"""
