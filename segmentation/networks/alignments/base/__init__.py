"""The interface of alignments."""
