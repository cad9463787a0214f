"""A labeled volume as pictures of its organs: several views, one organ highlighted, headless."""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from vtkmodules.vtkCommonCore import vtkLogger

from knowledge.common.files import write_whole
from knowledge.descriptions import BACKGROUND
from knowledge.questions.pictures import Renderings

# Without a display VTK finds another way to draw, and would say so each time.
vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)

HIGHLIGHT = "#d62728"
_AXES = ("#b00000", "#007000", "#0000b0")
_OTHERS = ("#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f", "#e377c2")


@dataclass(frozen=True)
class View:
    """Where the camera stands, seen from the organs, and what is up (RAS+ directions)."""

    name: str
    camera: tuple[float, float, float]
    up: tuple[float, float, float]


# A viewer in front of the patient sees the patient's right on the left of the picture.
VIEWS = (
    View("anterior", (0, 1, 0), (0, 0, 1)),
    View("left lateral", (-1, 0, 0), (0, 0, 1)),
    View("superior", (0, 0, 1), (0, 1, 0)),
    View("oblique", (-1, 1, 0.8), (0, 0, 1)),
)


class Scenery:
    """The surfaces of the organs of one labeled volume, ready to be drawn.

    Args:
        labels: label values [x, y, z], in any orientation.
        affine: [4, 4], voxel index to RAS+ mm.
        values: organ name to label value; an organ that the volume does not show is left out.
    """

    def __init__(
        self, labels: NDArray[np.integer], affine: NDArray[np.floating], values: Mapping[str, int]
    ) -> None:
        self._surfaces = {
            name: _surface(labels == value, affine)
            for name, value in values.items()
            if (labels == value).any()
        }
        self._stages: dict[int, tuple[Any, dict[str, Any]]] = {}
        if not self._surfaces:
            raise ValueError(f"the volume shows none of {', '.join(values)}")

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that can be drawn."""
        return tuple(self._surfaces)

    def picture(self, organ: str | None, view: View, size: int = 512) -> NDArray[np.uint8]:
        """One view as [size, size, 3]; `organ` is solid red, the others are translucent.

        Raises:
            LookupError: the volume does not show the organ.
        """
        if organ is not None and organ not in self._surfaces:
            raise LookupError(f"no {organ!r} in the volume; there is {', '.join(self.organs)}")
        plotter, actors = self._stage(size)
        for number, (name, actor) in enumerate(actors.items()):
            chosen = name == organ
            actor.prop.color = HIGHLIGHT if chosen else _OTHERS[number % len(_OTHERS)]
            actor.prop.opacity = 1.0 if chosen else (0.25 if organ else 0.7)
        self._aim(plotter, view)
        plotter.render()
        picture = plotter.screenshot(None, return_img=True)
        return _marked(np.ascontiguousarray(picture[..., :3]), view)

    def _stage(self, size: int) -> tuple[Any, dict[str, Any]]:
        """The window with all organs in it; made once per size, since that is what takes time."""
        if size not in self._stages:
            plotter = pv.Plotter(off_screen=True, window_size=[size, size])
            plotter.background_color = "white"
            actors = {
                name: plotter.add_mesh(surface, color="white", smooth_shading=True)
                for name, surface in self._surfaces.items()
            }
            plotter.show(auto_close=False, interactive=False)
            self._stages[size] = (plotter, actors)
        return self._stages[size]

    def _aim(self, plotter: Any, view: View) -> None:
        """A parallel projection that shows all organs, whichever is highlighted."""
        bounds = np.array([surface.bounds for surface in self._surfaces.values()])
        low, high = bounds[:, ::2].min(0), bounds[:, 1::2].max(0)
        center, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        direction = np.array(view.camera) / np.linalg.norm(view.camera)
        position = center + direction * 4 * radius
        plotter.camera_position = [tuple(position), tuple(center), view.up]
        plotter.camera.parallel_projection = True
        plotter.camera.parallel_scale = 1.05 * radius
        plotter.reset_camera_clipping_range()


def render_all(
    scenery: Scenery,
    case: str,
    folder: Path,
    *,
    size: int = 512,
    progress: Callable[[str], None] = lambda organ: None,
) -> Renderings:
    """Write a PNG per organ and view, overviews for the background, and the index."""
    pictures: dict[str, tuple[str, ...]] = {}
    for organ in (BACKGROUND, *scenery.organs):
        files = []
        for view in VIEWS:
            picture = scenery.picture(None if organ == BACKGROUND else organ, view, size)
            file = f"{file_name(organ)}-{file_name(view.name)}.png"
            write_png(folder / file, picture)
            files.append(file)
        pictures[organ] = tuple(files)
        progress(organ)
    made = Renderings(case=case, pictures=pictures)
    made.write(folder)
    return made


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture [height, width, 3], whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())


def file_name(name: str) -> str:
    """A name as part of a file name: lower case, words joined by underscores."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _surface(mask: NDArray[np.bool_], affine: NDArray[np.floating]) -> Any:
    """The surface of a mask in RAS+ mm, smoothed a little so that voxels do not show."""
    padded = np.pad(mask, 1).astype(np.uint8)
    grid = pv.ImageData(dimensions=padded.shape)
    grid.point_data["mask"] = padded.ravel(order="F")
    surface = grid.contour([0.5], scalars="mask")
    # The padding moved the mask by one voxel.
    points = np.asarray(surface.points) - 1
    surface.points = points @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    return surface.smooth_taubin(n_iter=20, pass_band=0.1)


def _marked(picture: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """The picture with the view's name, and axes in the corner that name the patient's directions.

    An axis that points at the viewer has no length and gets no letter.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    size = image.width
    font = ImageFont.load_default(size=size / 24)
    draw.text((size / 50, size / 60), view.name, fill="black", font=font)
    toward = np.array(view.camera) / np.linalg.norm(view.camera)
    right = np.cross(view.up, toward)
    right = right / np.linalg.norm(right)
    top = np.cross(toward, right)
    center, length = np.array([0.13, 0.87]) * size, 0.075 * size
    for axis, letters in enumerate(("RL", "AP", "SI")):
        for sign, letter in zip((1, -1), letters, strict=True):
            arrow = sign * np.array([right[axis], -top[axis]]) * length
            if np.linalg.norm(arrow) > 0.2 * length:
                draw.line([tuple(center), tuple(center + arrow)], fill=_AXES[axis], width=3)
                place = tuple(center + arrow * (1 + 0.035 * size / np.linalg.norm(arrow)))
                draw.text(place, letter, fill=_AXES[axis], font=font, anchor="mm")
    return np.asarray(image)
