"""What the terminal shows while a command runs: progress, live table, state of a run."""
