"""Description sets from language models: valid answers, parallel calls, assembly, shortening.

Imports `questions`, `providers`, `descriptions` and `common`.
"""
