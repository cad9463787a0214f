"""`python -m pipeline` is `tak`, for where scripts are not on the path."""

from pipeline.cli import main

main()
