"""Put the tables of finished studies into docs/study.md: `python -m tests.benchmarks.study_page`.

A line `<!-- table NAME -->` of the page is followed by the arms of `study/NAME/study.md`, and
`<!-- organs NAME -->` by its table of organs. The rest of the page is written by hand.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "study.md", Path(__file__).parent / "study"
_BLOCK = re.compile(r"(<!-- (table|organs) (\S+) -->\n)(?:\|[^\n]*\n)*")


def tables(name: str) -> list[str]:
    """The tables of a study, in order: arms, organs, texts."""
    text = (RESULTS / name / "study.md").read_text(encoding="utf-8")
    return re.findall(r"(?:^\|[^\n]*\n)+", text, flags=re.MULTILINE)


def filled(page: str) -> str:
    """The page with every table as it stands in the results."""

    def block(match: re.Match[str]) -> str:
        which = ("table", "organs").index(match[2])
        return match[1] + tables(match[3])[which]

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
