"""Parts of providers: interface, usage, budget, HTTP chat, retries, stored answers.

Imports `common` alone.
"""
