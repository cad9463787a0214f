"""One module per command of `tak`; heavy imports only inside the commands."""
