"""Pictures of a report for the README: `python -m tests.support.report_pictures report.html`.

Writes `report-organs.png`, `report-cases.png` and `report-surfaces.png` to `docs/pictures`; needs
Chromium or Chrome.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from tests.support.browser import browsing, find_browser
from tests.support.paths import ROOT

SECTIONS = {
    "report-organs.png": "#organs",
    "report-cases.png": "#cases",
    "report-surfaces.png": "#surfaces .stage",
}


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    browser = find_browser()
    if browser is None:
        raise SystemExit("no Chromium or Chrome on the PATH")
    options.out.mkdir(parents=True, exist_ok=True)
    with browsing(browser) as page, tempfile.TemporaryDirectory() as folder:
        page.open(options.report, width=1000, height=900)
        page.ask("document.querySelectorAll('.absent').forEach(note => note.remove())")
        page.ask("document.querySelector('#surfaces').scrollIntoView({behavior: 'instant'})")
        page.until("document.querySelector('.triad line').hasAttribute('x2')")
        for name, selector in SECTIONS.items():
            shot = Path(folder) / name
            page.screenshot(shot, selector)
            Image.open(shot).convert("RGB").save(options.out / name, optimize=True)
            print(f"{options.out / name}: {(options.out / name).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
