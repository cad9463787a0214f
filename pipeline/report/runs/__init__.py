"""The runs of a report: their folders, read and grouped into arms."""
