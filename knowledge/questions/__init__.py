"""What is asked: templates, questions, the format of answers, pictures of organs.

Imports `providers`, `descriptions` and `common`.
"""
