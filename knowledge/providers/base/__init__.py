"""What providers are built from: interface, usage, budget, HTTP chat, retries, stored answers.

Imports `common` alone.
"""
