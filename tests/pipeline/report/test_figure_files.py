"""Figures for a paper: text stays text and brings its fonts along."""

import base64
import io
import re
import zlib
from xml.etree import ElementTree

from fontTools.ttLib import TTFont

from pipeline.report.figure_files import DRAWINGS, paper_pdf, paper_svg
from pipeline.report.theme import drawing
from tests.pipeline.report.test_page import ran
from tests.support.report_material import make_scored_run

SVG = "{http://www.w3.org/2000/svg}"


def a_figure():
    """A drawing with plain and bold text, a letter beyond ASCII, and markup in a name."""
    with drawing(300, 200) as figure:
        axes = figure.subplots()
        axes.set_title("right kidney −2.0 <b>")
        axes.text(0.5, 0.5, "0.25 Dice", fontweight="bold")
        return paper_svg(figure), paper_pdf(figure), paper_svg(figure)


def test_text_of_an_svg_is_text_in_a_font_that_holds_its_characters():
    content, _, again = a_figure()
    assert content == again
    root = ElementTree.fromstring(content)
    texts = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert {"right kidney −2.0 <b>", "0.25 Dice"} <= set(texts)
    faces = re.findall(rb"font-weight: (\w+); src: url\(data:font/woff;base64,([^)]*)\)", content)
    assert [weight for weight, _ in faces] == [b"normal", b"bold"]
    for _, packed in faces:
        known = TTFont(io.BytesIO(base64.b64decode(packed))).getBestCmap()
        missing = {letter for text in texts for letter in text if ord(letter) not in known}
        assert not missing


def test_text_of_a_pdf_is_text_in_embedded_truetype_fonts():
    _, content, _ = a_figure()
    assert content.count(b"/FontFile2") >= 2  # plain and bold
    assert b"/Subtype /Type3" not in content
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL)
    page = next(text for text in map(unpacked, streams) if b"BT" in text)
    letters = b"".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\)", page)).replace(b"\0", b"")
    assert b"right" in letters
    assert b"0.25" in letters


def unpacked(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_figures_of_the_report_are_written_as_svg_and_pdf_too(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    (run / "bank.h5").unlink()  # drawing all figures takes long
    (run / "log.jsonl").unlink()
    said = ran(run, "-o", tmp_path / "out", "--figures", tmp_path / "paper")
    names = {"dice", "measures"}
    assert names <= set(DRAWINGS)
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"{name}.png" for name in names
    }
    assert {path.name for path in (tmp_path / "paper").iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("svg", "pdf")
    }
    assert f"4 figures in {tmp_path / 'paper'}" in " ".join(said.split())
