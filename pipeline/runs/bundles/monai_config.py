"""`configs/inference.json` of a bundle: prediction with MONAI's own transforms.

The steps are those of `segmentation.inference.prediction`: axes to RAS+, intensities to [0, 1], the
grid of the descriptor over the same outer voxel edges, sliding windows, probabilities back to the
resolution of the scan, the most probable class, the axes of the file.
"""

from typing import Any

from pipeline.runs.trained_model import TrainedModel
from segmentation.data.descriptor import DatasetSpec

CONFIG, PROGRAM = "configs/inference.json", "models/network.pt2"
_IMPORTS = ("glob", "os", "sys", "monai", "numpy as np", "torch")
_DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
# Softmax of the exponents is the normalized Gaussian; it ends after four deviations, as SciPy's.
_GAUSSIAN = (
    "$lambda sigma: torch.softmax(-0.5 * (torch.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5)"
    " + 1).float() / max(sigma, 1e-6)) ** 2, 0)"
)
_SMOOTHED = (
    "$lambda grid, shape: monai.networks.layers.separable_filtering(grid[None], [@gaussian("
    "max(old / new - 1, 0) / 2) for old, new in zip(grid.shape[1:], shape)], mode='replicate')"
)
_RESIZED = (
    "$lambda grid, shape: torch.nn.functional.interpolate(grid, tuple(shape), mode='trilinear', "
    "align_corners=False)[0]"
)
_SCANS = (
    "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii')) + glob.glob(os.path.join(@dataset_dir, "
    "'*.nii.gz'))) or sys.exit('dataset_dir ' + @dataset_dir + ': no .nii or .nii.gz file there')"
)
_PREDICTED = (
    "$torch.no_grad()(lambda d: {**d, 'pred': @inferer(d['grid'][None].to(@device), @network)})"
)
_LABELS = (
    "$lambda d: {**d, 'pred': monai.data.MetaTensor("
    "@resized(d['pred'], d['image'].shape[1:]).argmax(0, True).cpu())}"
)


def inference_config(model: TrainedModel) -> dict[str, Any]:
    """The configuration that `python -m monai.bundle run` executes.

    Raises:
        ValueError: the model was trained on shared arrays, whose intensity scaling is unknown.
    """
    spec, window = model.spec, model.window
    if spec.scaling == "stored":
        raise ValueError(
            f"{model.checkpoint}: trained on shared arrays of protocol {spec.protocol}, whose "
            "intensity scaling is unknown, so no scan in HU can be brought to them"
        )
    resample = "$lambda d: {**d, 'grid': @resized(@smoothed(d['grid'], s := @grid_shape(d)), s)}"
    scale = "$lambda d: {**d, 'grid': @scaled(d['grid'])}"
    overlap = window.overlap
    return {
        "imports": [f"$import {name}" for name in _IMPORTS],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "masks",
        "device": _DEVICE,
        "scans": _SCANS,
        "network": f"$torch.export.load(@bundle_root + '/{PROGRAM}').module().to(@device)",
        "grid_shape": _grid_shape(spec),
        "gaussian": _GAUSSIAN,
        "smoothed": _SMOOTHED,
        "resized": _RESIZED,
        "scaled": _scaled(spec),
        "preprocessing": _composed(
            {
                "_target_": "LoadImaged",
                "keys": "image",
                "reader": "NibabelReader",
                "ensure_channel_first": True,
            },
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            "$lambda d: {**d, 'grid': d['image'].as_tensor().float()}",
            *((scale, resample) if spec.windowed == "before" else (resample, scale)),
            # Training data are stored with 16 bits.
            "$lambda d: {**d, 'grid': torch.round(d['grid'] * 65535) / 65535}",
        ),
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(window.patch),
            "sw_batch_size": window.windows_per_call,
            "overlap": overlap if isinstance(overlap, int | float) else list(overlap),
            "mode": window.blend,
        },
        "postprocessing": _composed(
            _PREDICTED,
            _LABELS,
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
            },
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "output_dir": "@output_dir",
                "output_postfix": "seg",
                "output_dtype": "$np.uint8" if len(spec.classes) <= 2**8 else "$np.uint16",
                "separate_folder": False,
                "resample": False,
            },
        ),
        "run": ["$[len(@postprocessing(@preprocessing({'image': path}))) for path in @scans]"],
    }


def _composed(*transforms: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}


def _grid_shape(spec: DatasetSpec) -> str:
    """The number of voxels of the grid over an image, as `preparation.grid_shape` counts them."""
    grid = spec.grid
    if grid.spacing_mm is not None:
        return (
            "$lambda d: [max(round(n * float(mm) / new), 1) for n, mm, new in "
            f"zip(d['image'].shape[1:], d['image'].pixdim, {list(grid.spacing_mm)})]"
        )
    if grid.shrink is not None:
        return (
            "$lambda d: [max(n // f, 1) for n, f in "
            f"zip(d['image'].shape[1:], {list(grid.shrink)})]"
        )
    assert grid.shape is not None
    return f"$lambda d: {list(grid.shape)}"


def _scaled(spec: DatasetSpec) -> str:
    """HU to [0, 1] by the ends of the window, or by the range of the scan within it."""
    low, high = spec.window_hu
    if spec.scaling == "window":
        return f"$lambda grid: (grid.clamp({low}, {high}) - {low}) / {high - low}"
    ends = f"torch.stack([grid.min(), grid.max()]).clamp({low}, {high})"
    return f"$lambda grid: (lambda a, b: (grid.clamp(a, b) - a) / (b - a))(*{ends})"
