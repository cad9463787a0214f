"""`python -m pipeline` is `tak`, for where scripts are not on the path."""

from pipeline.commands.shared.interrupts import ignore_signals, stopped_with


def main() -> None:
    """Run `tak`; a signal ends it with one line even while libraries are imported."""
    try:
        with stopped_with("nothing was under way", at_once=True):
            from pipeline.cli import main as run

            run()
    finally:
        ignore_signals()  # nothing is left to do but to end


if __name__ == "__main__":
    main()
