"""Names of the files that training leaves in a run's folder."""

BEST = "best.pt"  # the state with the best validation score; the last without validation
LAST = "last.pt"  # the state to resume from
LOG = "log.jsonl"
