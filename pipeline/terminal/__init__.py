"""Terminal views: progress bars, live table, status of a run, catalog."""
