"""The report's page in a real browser: sliders, layers and organ switches do what they say."""

import re

import numpy as np
import pytest

from segmentation.data.case_files import read_case
from segmentation.imaging.colors import colors
from tests.support.browser import browsing, find_browser

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium or Chrome on the PATH to open the page with"
)

# Share of a canvas that is colored, and the colors that cover most of it.
COLORED = """(axis => {
  const canvas = document.querySelector(`figure[data-axis="${axis}"] canvas`);
  const {width, height} = canvas;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  let colored = 0;
  const counts = {};
  for (let at = 0; at < data.length; at += 4) {
    const [r, g, b] = data.slice(at, at + 3);
    if (Math.max(r, g, b) - Math.min(r, g, b) < 30) continue;
    colored += 1;
    counts[[r, g, b]] = (counts[[r, g, b]] ?? 0) + 1;
  }
  const common = Object.entries(counts).sort((a, b) => b[1] - a[1]).slice(0, 20);
  return [colored / (width * height), common.map(([color]) => color)];
})(%d)"""


@pytest.fixture
def report(small_report):
    return small_report[0] / "report.html"


@pytest.fixture(scope="module")
def page():
    with browsing(find_browser()) as opened:
        yield opened


@pytest.fixture
def best(prepared):
    """Truth [x, y, z] of the case that is shown first."""
    return read_case(prepared.file(prepared.split.test[0])).label


def choose(page, name, value):
    page.ask(f"document.querySelector('input[name={name}][value=\"{value}\"]').click()")


def slide(page, axis, place):
    page.ask(
        f"""(() => {{ const slider = document.querySelector('figure[data-axis="{axis}"] input');
        slider.value = {place}; slider.dispatchEvent(new Event("input")); }})()"""
    )


def full_opacity(page):
    page.ask(
        """(() => { const slider = document.querySelector("input[name=opacity]");
        slider.value = 100; slider.dispatchEvent(new Event("input")); })()"""
    )


def colored(page, axis):
    return page.ask(COLORED % axis)


@pytest.mark.parametrize("width", [1400, 500])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_without_a_complaint_and_asks_for_nothing(page, report, width, dark):
    page.open(report, width=width, dark=dark)
    assert page.errors == []
    outside = [url for url in page.requests if not url.startswith("data:")]
    assert outside == [report.resolve().as_uri()]
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    light = page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 253)"
    assert light != dark


def test_the_theme_switch_overrides_what_the_system_prefers(page, report):
    page.open(report)
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.ask(background)
    choose(page, "theme", "dark")
    dark = page.ask(background)
    choose(page, "theme", "light")
    assert page.ask(background) == before != dark
    choose(page, "theme", "auto")


def test_each_slider_moves_its_own_plane_through_the_organs(page, report, best):
    page.open(report)
    choose(page, "layer", "truth")
    full_opacity(page)
    for axis in range(3):
        for place in (best.shape[axis] // 3, best.shape[axis] // 2):
            slide(page, axis, place)
            expected = (np.take(best, place, axis) > 0).mean()
            assert colored(page, axis)[0] == pytest.approx(expected, abs=0.02)
            shown = page.ask(f"document.querySelector('figure[data-axis=\"{axis}\"] output').value")
            assert shown == f"{place + 1} of {best.shape[axis]}"


def test_arrow_keys_move_a_slider(page, report):
    page.open(report)
    page.ask("document.querySelector('figure[data-axis=\"2\"] input').focus()")
    before = page.ask("document.querySelector('figure[data-axis=\"2\"] output').value")
    page.press("ArrowRight", 39)
    after = page.ask("document.querySelector('figure[data-axis=\"2\"] output').value")
    assert int(after.split()[0]) == int(before.split()[0]) + 1


def test_layers_show_nothing_truth_errors_or_what_the_network_doubts(page, report, best):
    page.open(report)
    full_opacity(page)
    place = best.shape[2] // 2
    slide(page, 2, place)
    shares = {}
    for layer in ("scan", "truth", "prediction", "error", "uncertainty"):
        choose(page, "layer", layer)
        shares[layer] = colored(page, 2)[0]
    assert shares["scan"] == 0
    assert shares["truth"] == pytest.approx((best[:, :, place] > 0).mean(), abs=0.02)
    assert shares["error"] > 0
    assert shares["uncertainty"] > 0
    assert page.ask("getComputedStyle(document.querySelector('.keys.uncertainty')).display") == (
        "flex"
    )


def test_organ_switches_hide_and_show_organs_in_their_color(page, report, best, prepared):
    page.open(report)
    choose(page, "layer", "truth")
    full_opacity(page)
    label = prepared.spec.labels["liver"]
    page.ask("document.querySelector('[data-organ=liver] button').click()")
    place = int(page.ask("document.querySelector('figure[data-axis=\"2\"] input').value"))
    assert (best[:, :, place] == label).any()
    page.ask("document.querySelector('[data-all=\"0\"]').click()")
    assert colored(page, 2)[0] == 0
    page.ask("document.querySelector('[data-organ=liver] input').click()")
    share, common = colored(page, 2)
    assert share == pytest.approx((best[:, :, place] == label).mean(), abs=0.02)
    assert common[0] == ",".join(map(str, colors(prepared.spec.classes)[label]))
    page.ask("document.querySelector('[data-all=\"1\"]').click()")
    assert colored(page, 2)[0] == pytest.approx((best[:, :, place] > 0).mean(), abs=0.02)


def test_a_click_moves_the_other_planes_to_the_voxel_and_reads_it(page, report, best, prepared):
    page.open(report)
    place = int(page.ask("document.querySelector('figure[data-axis=\"2\"] input').value"))
    x, y = np.argwhere(best[:, :, place] == prepared.spec.labels["liver"])[5]
    right, front = 1 - (x + 0.5) / best.shape[0], 1 - (y + 0.5) / best.shape[1]
    page.click('figure[data-axis="2"] canvas', right, front)
    assert page.ask("Number(document.querySelector('figure[data-axis=\"0\"] input').value)") == x
    assert page.ask("Number(document.querySelector('figure[data-axis=\"1\"] input').value)") == y
    assert "truth liver" in page.ask("document.querySelector('.readout').textContent")


def test_another_case_can_be_chosen(page, report, prepared):
    page.open(report)
    before = page.ask(COLORED % 2)
    choose(page, "case", 1)
    worst = read_case(prepared.file(prepared.split.test[1])).label
    page.until(
        f"document.querySelector('figure[data-axis=\"2\"] input').max === '{worst.shape[2] - 1}'"
    )
    assert page.errors == []
    assert page.ask(COLORED % 2) != before


def test_of_two_cases_chosen_in_a_hurry_the_last_one_is_shown(page, report):
    page.open(report)
    score = "document.querySelector('[data-organ=liver] .score').textContent"
    before = page.ask(score), page.ask(COLORED % 2)
    page.ask(
        """(() => { const unpacked = Response.prototype.arrayBuffer;
        Response.prototype.arrayBuffer = async function () {
          const content = await unpacked.call(this);
          await new Promise((go) => setTimeout(go, 100));
          window.late = true;
          return content;
        }; })()"""
    )
    choose(page, "case", 1)
    choose(page, "case", 0)
    page.until("window.late === true")
    page.ask("new Promise((go) => setTimeout(go, 0))")
    assert (page.ask(score), page.ask(COLORED % 2)) == before


def luminance(color):
    """Relative luminance of `rgb(r, g, b)` after WCAG 2.2."""
    parts = np.array([float(part) for part in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("dark", [False, True])
def test_gains_are_not_red_and_can_be_read(page, report, dark):
    page.open(report, dark=dark)
    color = page.ask("getComputedStyle(document.querySelector('.heroes .better')).color")
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", color)[:3])
    assert red < min(green, blue)
    assert page.ask("document.querySelector('.heroes .better').textContent").startswith("+")
    paper = luminance(page.ask("getComputedStyle(document.body).backgroundColor"))
    for name in ("better", "worse"):
        shown = page.ask(
            f"""(() => {{ const mark = document.querySelector('.better');
            mark.className = "{name}"; const color = getComputedStyle(mark).color;
            mark.className = "better"; return color }})()"""
        )
        light, deep = sorted((luminance(shown), paper), reverse=True)
        assert (light + 0.05) / (deep + 0.05) > 4.5


def test_the_tab_key_reaches_every_slider_and_each_has_a_name(page, report):
    page.open(report)
    page.ask("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.press("Tab", 9)
        name = page.ask("document.activeElement.getAttribute('aria-label')")
        reached.add(name)
    assert {"Axial slice", "Coronal slice", "Sagittal slice", "Opacity of the layer"} <= reached
    assert page.ask(
        """[...document.querySelectorAll("input, button, canvas, main svg[role=img], .scroll")]
        .every((e) => e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent)
        """
    )


def test_wide_tables_scroll_within_a_phone_and_nothing_is_cut_off_on_paper(page, report):
    page.open(report, width=360)
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    assert page.ask("document.querySelector('#organs .scroll').scrollWidth") > 360
    page.open(report, width=760)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 253)"
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    page.call("Emulation.setEmulatedMedia", media="", features=[])
