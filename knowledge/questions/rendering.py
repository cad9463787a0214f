"""A labeled volume as pictures of its organs: several views, one organ highlighted, headless."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from vtkmodules.vtkCommonCore import vtkLogger

from knowledge.common.files import write_whole
from knowledge.common.suggest import unknown
from knowledge.descriptions import BACKGROUND
from knowledge.questions.drawing import FINER, GRAY, Color, Layer, Picture, View, compose
from knowledge.questions.pictures import Renderings

# Without a display VTK falls back to another backend and would warn each time.
vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)

# A viewer in front of the patient sees the patient's right on the left of the picture.
VIEWS = (
    View("anterior", (0, 1, 0), (0, 0, 1)),
    View("left lateral", (-1, 0, 0), (0, 0, 1)),
    View("superior", (0, 0, 1), (0, 1, 0)),
    View("oblique", (-1, 1, 0.8), (0, 0, 1)),
)
_MARGIN = 1.12  # of the organs' extent, so that nothing touches the border


class Scenery:
    """The surfaces of the organs of one labeled volume, ready to be drawn.

    Args:
        labels: label values [x, y, z], in any orientation.
        affine: [4, 4], voxel index to RAS+ mm.
        values: organ name to label value; an organ that the volume does not show is left out.
        colors: of every organ in pictures that highlight another one.
        surroundings: masks [x, y, z] of body and spine, which are drawn faintly for orientation.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        affine: NDArray[np.floating],
        values: Mapping[str, int],
        surroundings: Mapping[str, NDArray[np.bool_]] | None = None,
        *,
        colors: Mapping[str, Color],
    ) -> None:
        self._surfaces = {
            name: _surface(labels == value, affine)
            for name, value in values.items()
            if (labels == value).any()
        }
        if not self._surfaces:
            raise ValueError(f"the volume shows none of {', '.join(values)}")
        self._colors = {name: colors[name] for name in self._surfaces}
        self._around = {
            name: _surface(mask, affine)
            for name, mask in (surroundings or {}).items()
            if mask.any()
        }
        self._layers: dict[tuple[str, int], list[Layer]] = {}

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that can be drawn."""
        return tuple(self._surfaces)

    def picture(self, organ: str | None, view: View, size: int = 512) -> Picture:
        """One view; `organ` is solid red on top, the others are outlines with a faint fill.

        Raises:
            LookupError: the volume does not show the organ.
        """
        if organ is not None and organ not in self._surfaces:
            raise LookupError(unknown("organ", organ, self.organs, "in the volume"))
        key = (view.name, size)
        if key not in self._layers:
            self._layers[key] = self._draw_layers(view, size * FINER)
        return compose(self._layers[key], organ, view, size)

    def _draw_layers(self, view: View, fine: int) -> list[Layer]:
        """Every organ alone, drawn once per view: rendering is what takes time."""
        plotter = pv.Plotter(off_screen=True, window_size=[fine, fine])
        plotter.background_color = "white"
        actors = {
            name: plotter.add_mesh(surface, color="white", smooth_shading=True)
            for name, surface in (self._surfaces | self._around).items()
        }
        self._aim(plotter, view)
        plotter.show(auto_close=False, interactive=False)
        layers = []
        for name, chosen in actors.items():
            for actor in actors.values():
                actor.visibility = actor is chosen
            plotter.reset_camera_clipping_range()
            plotter.render()
            image = plotter.screenshot(None, return_img=True, transparent_background=True)
            mask = image[..., 3] > 127
            boxes = ndimage.find_objects(mask.astype(np.uint8))
            if not boxes:
                continue
            box = boxes[0]
            surrounding = name in self._around
            center = np.array((self._around if surrounding else self._surfaces)[name].center)
            layers.append(
                Layer(
                    name=name,
                    box=box,
                    mask=mask[box],
                    shade=image[box][..., 0].astype(np.float32) / 255,
                    depth=float(center @ view.axes[2]),
                    color=GRAY if surrounding else self._colors[name],
                    surrounding=surrounding,
                )
            )
        plotter.close()
        return layers

    def _aim(self, plotter: Any, view: View) -> None:
        """A parallel projection that frames all organs tightly, whichever is highlighted."""
        right, top, toward = view.axes
        points = np.concatenate([np.asarray(surface.points) for surface in self._surfaces.values()])
        axes = np.stack([right, top, toward])
        low, high = (points @ axes.T).min(0), (points @ axes.T).max(0)
        center = (low + high) / 2 @ axes
        position = center + toward * (np.linalg.norm(high - low) + 1)
        plotter.camera_position = [tuple(position), tuple(center), view.up]
        plotter.camera.parallel_projection = True
        plotter.camera.parallel_scale = _MARGIN * float((high - low)[:2].max()) / 2
        plotter.reset_camera_clipping_range()


def render_all(
    scenery: Scenery,
    case: str,
    folder: Path,
    *,
    size: int = 512,
    progress: Callable[[str], None] = lambda organ: None,
) -> tuple[Renderings, tuple[str, ...]]:
    """Write a PNG per organ and view, overviews for the background, and the index.

    A view in which an organ is hardly visible is left out.

    Returns:
        The index, and the views that were left out in words.
    """
    pictures: dict[str, tuple[str, ...]] = {}
    left_out = []
    for organ in (BACKGROUND, *scenery.organs):
        files = []
        for view in VIEWS:
            picture = scenery.picture(None if organ == BACKGROUND else organ, view, size)
            if organ != BACKGROUND and not picture.shows_enough:
                left_out.append(f"{organ}, {view.name}: {picture.visible} pixels")
                continue
            file = f"{file_name(organ)}-{file_name(view.name)}.png"
            write_png(folder / file, picture.pixels)
            files.append(file)
        pictures[organ] = tuple(files)
        progress(organ)
    index = Renderings(case=case, pictures=pictures)
    index.write(folder)
    return index, tuple(left_out)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture [height, width, 3], atomically."""
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
