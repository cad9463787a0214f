"""Renderings: organs where they belong, on every machine without a display."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tests.support.renderer  # noqa: F401  (before any picture is drawn)
from tests.support.chat_server import chat_server

pytest.importorskip("pyvista")

from knowledge.asking.describe import describe
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.drawing import HIGHLIGHT
from knowledge.questions.pictures import INDEX, find_pictures
from knowledge.questions.rendering import VIEWS, Scenery, file_name, render_all
from knowledge.questions.template import Template, Wording
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.colors import HIGHLIGHT as SEGMENTATION_HIGHLIGHT
from segmentation.imaging.colors import colors
from segmentation.imaging.volume import read_labels
from segmentation.phantom.population import Population, make_population
from tests.support.paths import ROOT

COLORS = dict.fromkeys(("knob", "hub", "wall", "gland", "plate", "thread"), (60, 105, 225))
VALUES = {"knob": 1, "hub": 2, "absent": 3}
VIEW = {view.name: view for view in VIEWS}


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    """A knob to the patient's right, in front and above of a hub; the grid is stored as LPI."""
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[4:12, 4:12, 4:12] = 1
    labels[26:36, 26:36, 26:36] = 2
    affine = np.diag([-2.0, -2.0, -2.0, 1.0])
    affine[:3, 3] = 80
    return Scenery(labels, affine, VALUES, colors=COLORS)


def red_center(picture: np.ndarray) -> tuple[float, float]:
    """Where the highlighted organ is: column and row as shares of the size."""
    pixels = picture.astype(int)
    red = (pixels[..., 0] > 90) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    red[-int(0.3 * len(red)) :, : int(0.3 * len(red))] = False  # the marker
    rows, columns = np.nonzero(red)
    assert len(rows) > 50
    return float(columns.mean()) / len(red), float(rows.mean()) / len(red)


@pytest.mark.parametrize(
    ("view", "left_half", "upper_half"),
    [("anterior", True, True), ("left lateral", True, True), ("superior", False, True)],
)
def test_a_view_shows_the_organ_on_the_side_where_a_viewer_sees_it(
    scenery: Scenery, view: str, left_half: bool, upper_half: bool
) -> None:
    column, row = red_center(scenery.picture("knob", VIEW[view], 256).pixels)
    assert (column < 0.5) == left_half
    assert (row < 0.5) == upper_half


def test_the_other_organ_is_seen_faintly_and_an_overview_highlights_none(scenery: Scenery) -> None:
    picture = scenery.picture("knob", VIEW["anterior"], 256).pixels.astype(int)
    faint = (picture.max(axis=2) - picture.min(axis=2) > 15) & (picture.min(axis=2) > 100)
    assert faint[100:230, 140:230].sum() > 300
    overview = scenery.picture(None, VIEW["anterior"], 256).pixels
    with pytest.raises(AssertionError):
        red_center(overview)


def test_an_organ_that_the_volume_does_not_show_is_refused(scenery: Scenery) -> None:
    assert scenery.organs == ("knob", "hub")
    with pytest.raises(LookupError, match="no organ 'absent' in the volume; there is knob, hub"):
        scenery.picture("absent", VIEWS[0])
    with pytest.raises(ValueError, match="shows none of knob"):
        Scenery(np.zeros((4, 4, 4), np.uint8), np.eye(4), VALUES, colors=COLORS)


def test_pictures_are_written_indexed_and_sent(scenery: Scenery, tmp_path: Path) -> None:
    made, left_out = render_all(scenery, "case 1", tmp_path, size=96)
    assert left_out == ()
    assert len(list(tmp_path.glob("*.png"))) == 3 * len(VIEWS)
    classes = ("background", "knob", "hub")
    pictures = find_pictures(tmp_path, classes)
    assert made.case == "case 1"
    template = Template("t", Wording(title="t", aspects={"place": "Where is the {organ}?"}))
    with chat_server() as server:
        service = OpenAICompatible(ProviderOptions(model="m", base_url=server.url), "key")
        asked = describe(template, classes, service, images=pictures)
    for body, name in zip(server.questions, classes, strict=True):
        text, *parts = body["messages"][-1]["content"]
        assert "name the patient's directions" in text["text"]
        sent = [base64.b64decode(part["image_url"]["url"].split(",")[1]) for part in parts]
        assert sent == [path.read_bytes() for path in pictures[name]]
        assert Image.open(io.BytesIO(sent[0])).size == (96, 96)
    assert asked.descriptions.get("knob", "place").origin.images[0] == "knob-anterior.png"


def test_missing_pictures_are_named(scenery: Scenery, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no renderings\.json"):
        find_pictures(tmp_path, ("knob",))
    (tmp_path / INDEX).write_text(json.dumps({"case": "1", "pictures": {"knob": ["k.png"]}}))
    with pytest.raises(LookupError, match="no pictures of hub: case 1 shows knob"):
        find_pictures(tmp_path, ("knob", "hub"))
    with pytest.raises(FileNotFoundError, match=r"no picture .*k\.png"):
        find_pictures(tmp_path, ("knob",))


def test_an_organ_behind_a_larger_one_is_on_top_and_a_small_one_is_magnified() -> None:
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[5:55, 30:55, 5:55] = 1
    labels[28:32, 10:14, 28:32] = 2
    scenery = Scenery(labels, np.diag([4.0, 4, 4, 1]), {"wall": 1, "gland": 2}, colors=COLORS)
    picture = scenery.picture("gland", VIEW["anterior"], 256)
    pixels = picture.pixels.astype(int)
    red = (pixels[..., 0] > 90) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    pieces = np.unique(np.argwhere(red)[:, 1] // 64)
    assert red[110:146, 110:146].sum() > 100, "the organ itself"
    assert red.sum() > 5 * red[110:146, 110:146].sum(), "its inset"
    assert len(pieces) > 1
    assert picture.visible == pytest.approx(red.sum(), rel=0.3)


def test_a_view_that_hardly_shows_an_organ_is_left_out_and_named(tmp_path: Path) -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[2:38, 2:38, 30:38] = 1
    labels[4:36, 20, 4] = 2
    scenery = Scenery(labels, np.diag([4.0, 4, 0.3, 1]), {"plate": 1, "thread": 2}, colors=COLORS)
    index, left_out = render_all(scenery, "1", tmp_path, size=96)
    shown = {len(files) for files in index.pictures.values()}
    named = [line.split(": ")[0] for line in left_out]
    assert sum(len(files) for files in index.pictures.values()) == 12 - len(left_out)
    assert all(line.endswith(" pixels") for line in left_out)
    assert all(name.startswith(("plate, ", "thread, ")) for name in named)
    assert 4 in shown


def test_every_organ_of_a_phantom_is_visible_in_every_view(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spec = DatasetSpec.read(ROOT / "data" / "amos.toml")
    folder = tmp_path_factory.mktemp("phantom")
    population = Population(labeled=1, unlabeled=0, validation=0, test=0, spacing_mm=7.0)
    make_population(spec, folder, population)
    volume = read_labels(next((folder / "labelsTr").iterdir()))
    shades = dict(zip(spec.labels, colors(spec.classes)[1:], strict=True))
    scenery = Scenery(volume.voxels, volume.affine, spec.labels, colors=shades)
    for view in VIEWS:
        for organ in scenery.organs:
            picture = scenery.picture(organ, view, 128)
            assert picture.shows_enough, f"{organ}, {view.name}: {picture.visible} pixels"


def test_organs_have_the_colors_of_the_report_and_none_is_that_of_the_highlight() -> None:
    assert HIGHLIGHT == SEGMENTATION_HIGHLIGHT
    assert HIGHLIGHT not in colors(range(100))


def test_names_become_file_names() -> None:
    assert file_name("Right adrenal gland") == "right_adrenal_gland"
