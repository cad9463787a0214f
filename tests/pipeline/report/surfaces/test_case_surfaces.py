"""The surfaces of a case, and the page with and without WebGL, in a real browser."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.report.surfaces.case_surfaces import case_surfaces
from segmentation.imaging.colors import colors
from tests.pipeline.report.test_page import ran
from tests.support.browser import browsing, find_browser
from tests.support.report_material import case_of, make_scored_run

CLASSES = ("background", "liver", "spleen")
needs_browser = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium or Chrome on the PATH to open the page with"
)


def test_truth_and_prediction_are_framed_alike_and_a_missed_organ_has_no_surface():
    truth, prediction = np.zeros((2, 20, 20, 20), int)
    truth[2:8, 5:15, 5:15], truth[12:18, 5:15, 5:15] = 1, 2
    prediction[2:8, 5:15, 5:15] = 1
    surfaces = case_surfaces(case_of(truth, prediction), CLASSES)
    parts = [part[:2] for part in surfaces.packed.about["parts"]]
    assert parts == [["truth", 1], ["truth", 2], ["prediction", 1]]
    liver = np.array(colors(CLASSES)[1])
    there, guessed = (
        np.abs(picture[..., :3] / np.maximum(picture[..., :3].max(-1, keepdims=True), 1)
               - liver / liver.max()).max(-1) < 0.05
        for picture in surfaces.stills.values()
    )  # fmt: skip
    assert guessed.sum() >= there.sum() > 100
    assert (guessed & there).sum() == there.sum()


def test_surfaces_can_be_left_out(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    ran(run, "--no-surfaces", "-o", tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Left out by <code>--no-surfaces</code>" in text
    assert "twgl" not in text


@pytest.fixture(scope="module")
def page():
    with browsing(find_browser()) as opened:
        yield opened


def opened_at(page, report, *, width=1000):
    """The page at its surfaces, drawn."""
    page.open(report, width=width)
    page.ask("document.documentElement.style.scrollbarWidth = 'none'")  # pictures lack it or not
    page.ask("document.querySelector('#surfaces').scrollIntoView({behavior: 'instant'})")
    page.until("document.querySelector('#surfaces-view').dataset.live === ''")
    page.until("document.querySelector('.triad line').hasAttribute('x2')")


def wait_for_frame(page):
    page.ask("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")


def shot(page, tmp_path):
    """The stage as on the screen [row, column, RGB], without its titles."""
    wait_for_frame(page)
    page.screenshot(tmp_path / "shot.png", ".stage")
    picture = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
    return picture[30:]


def colored(picture):
    return np.ptp(picture, axis=2) > 40


def outline(mask):
    """A mask cut to its box and brought to 100 x 100."""
    rows, columns = np.nonzero(mask)
    part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = Image.fromarray(part.astype(np.uint8) * 255).resize((100, 100))
    return np.asarray(image) > 127


@needs_browser
def test_the_browser_draws_what_the_still_picture_shows(page, small_report, tmp_path):
    opened_at(page, small_report[0] / "report.html")
    left, right = np.array_split(shot(page, tmp_path), 2, axis=1)
    sources = page.ask(
        "Promise.all([...document.querySelectorAll('.stills:not([hidden]) img')].map(async (i) =>"
        "[...new Uint8Array(await (await new Response(Uint8Array.from(atob(i.src.split(',')[1]),"
        "(c) => c.charCodeAt(0)))).arrayBuffer())]))"
    )
    for half, content in zip((left, right), sources, strict=True):
        still = np.asarray(Image.open(io.BytesIO(bytes(content))))
        one, other = outline(colored(half)), outline(still[..., 3] > 127)
        assert (one & other).sum() / (one | other).sum() > 0.93
    assert page.errors == []


@needs_browser
def test_keys_and_drags_turn_both_and_switches_hide_organs(page, small_report, tmp_path):
    opened_at(page, small_report[0] / "report.html")
    before = shot(page, tmp_path)
    page.ask("document.querySelector('.stage canvas').focus()")
    page.press("ArrowLeft", 37)
    turned = shot(page, tmp_path)
    for half in (slice(0, 400), slice(600, None)):
        assert (np.abs(turned - before)[:, half] > 30).sum() > 200
    page.ask("document.querySelector('[data-turn=\"180\"]').click()")
    wait_for_frame(page)
    shown = page.ask(
        "[...document.querySelectorAll('.triad text')]"
        ".filter((t) => t.getAttribute('visibility') === 'visible').map((t) => t.textContent)"
    )
    assert sorted(shown) == ["I", "L", "P", "R", "S"]
    across = "document.querySelectorAll('.triad text')[0].getAttribute('x')"
    assert float(page.ask(across)) > 0  # seen from behind, the patient's right is on the right
    page.ask("document.activeElement.blur()")  # its frame is colored
    page.ask("document.querySelector('[data-every=\"0\"]').click()")
    assert not colored(shot(page, tmp_path)).any()
    page.ask("document.querySelector('#surfaces li:nth-child(6) input').click()")
    assert colored(shot(page, tmp_path)).any()
    assert page.errors == []


@needs_browser
def test_the_view_turns_by_itself_until_it_is_stopped(page, small_report):
    opened_at(page, small_report[0] / "report.html")
    place = "document.querySelector('.triad line').getAttribute('x2')"
    before = page.ask(place)
    page.ask("document.querySelector('[data-spin]').click()")
    page.until(f"{place} !== {before!r}")
    page.ask("document.querySelector('[data-spin]').click()")
    assert page.ask("document.querySelector('[data-spin]').getAttribute('aria-pressed')") == (
        "false"
    )


SHOWN = "getComputedStyle(document.querySelector('{}')).display !== 'none'"


@needs_browser
def test_paper_shows_the_still_pictures(page, small_report):
    opened_at(page, small_report[0] / "report.html", width=760)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.ask(SHOWN.format(".stage .stills:not([hidden])"))
    assert not page.ask(SHOWN.format(".stage canvas"))
    page.call("Emulation.setEmulatedMedia", media="", features=[])


@needs_browser
def test_without_webgl_the_still_picture_of_the_chosen_case_is_shown(small_report):
    with browsing(find_browser(), webgl=False) as page:
        page.open(small_report[0] / "report.html")
        page.ask("document.querySelector('#surfaces').scrollIntoView({behavior: 'instant'})")
        assert page.ask("document.createElement('canvas').getContext('webgl') === null")
        page.ask("document.querySelector('input[name=surface-case][value=\"1\"]').click()")
        page.until("document.querySelector('.stills[data-case=\"0\"]').hidden")
        assert page.ask(SHOWN.format('.stills[data-case="1"] img'))
        assert not page.ask(SHOWN.format(".stage canvas"))
        assert not page.ask(SHOWN.format(".surfaces .turns"))
        assert page.ask(SHOWN.format(".no-webgl"))
        assert page.errors == []
