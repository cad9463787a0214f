"""Renderings: organs where they belong, on every machine without a display."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.chat_server import chat_server

pytest.importorskip("pyvista")

from knowledge.describe import describe
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.pictures import INDEX, find_pictures
from knowledge.questions.rendering import VIEWS, Scenery, file_name, render_all
from knowledge.questions.template import Template, Wording

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
    return Scenery(labels, affine, VALUES)


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
    column, row = red_center(scenery.picture("knob", VIEW[view], 256))
    assert (column < 0.5) == left_half
    assert (row < 0.5) == upper_half


def test_the_other_organ_is_seen_faintly_and_an_overview_highlights_none(scenery: Scenery) -> None:
    picture = scenery.picture("knob", VIEW["anterior"], 256).astype(int)
    faint = (picture.max(axis=2) - picture.min(axis=2) > 15) & (picture.min(axis=2) > 100)
    assert faint[100:230, 140:230].sum() > 300
    overview = scenery.picture(None, VIEW["anterior"], 256)
    with pytest.raises(AssertionError):
        red_center(overview)


def test_an_organ_that_the_volume_does_not_show_is_refused(scenery: Scenery) -> None:
    assert scenery.organs == ("knob", "hub")
    with pytest.raises(LookupError, match="no 'absent' in the volume; there is knob, hub"):
        scenery.picture("absent", VIEWS[0])
    with pytest.raises(ValueError, match="shows none of knob"):
        Scenery(np.zeros((4, 4, 4), np.uint8), np.eye(4), VALUES)


def test_pictures_are_written_indexed_and_sent(scenery: Scenery, tmp_path: Path) -> None:
    made = render_all(scenery, "case 1", tmp_path, size=96)
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


def test_names_become_file_names() -> None:
    assert file_name("Right adrenal gland") == "right_adrenal_gland"
