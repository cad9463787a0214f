"""What is timed: every item makes its material and gives a function without arguments."""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segmentation.data.case_files import FORMAT_VERSION, read_case, write_case
from segmentation.evaluation.metrics import dice
from segmentation.evaluation.surface import surface_scores
from segmentation.inference.sliding_window import SlidingWindow
from segmentation.losses import entropy, ga_cross_entropy, ga_dice, most_probable
from segmentation.methods.base.cubes import draw_exchange, exchange, partition, recover
from segmentation.methods.base.mean_teacher import make_teacher, update_teacher
from segmentation.methods.magicnet import PseudoLabels
from segmentation.networks.alignments.contrast import contrast, resize_labels, sample_rows
from segmentation.networks.heads.base.generated import PARAMETERS, apply_generated
from segmentation.networks.network import DEEP
from segmentation.training.patches import PatchStream, batches
from tests.benchmarks.settings import EARLY, LATE, Bench

Timed = Callable[[], Any]
ATTRIBUTES = {
    "format_version": FORMAT_VERSION, "affine": np.eye(4), "source_affine": np.eye(4)
}  # fmt: skip
IMAGES = 4  # labeled and unlabeled patches of a step


def step(bench: Bench, name: str, at: int = LATE) -> Timed:
    """A training step with its update."""
    method, batch = bench.method(name), bench.batch()
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(bench.device.type, enabled=bench.precision is torch.float16)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, bench.precision, enabled=bool(bench.precision)):
            terms = method(batch, at)
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        method.after_step(at)

    return run


def warm_up_step(bench: Bench) -> Timed:
    """A supervised step of TAK's warm-up."""
    return step(bench, "magicnet", EARLY)


def encoder(bench: Bench) -> Timed:
    """All passes of the encoder that a TAK step makes with gradient, forward and backward."""
    network = bench.method().network
    whole = bench.random(2 * IMAGES, 1, *bench.size.patch_shape)
    cubes = partition(whole[:IMAGES], _grid(bench)).flatten(0, 1)
    return lambda: _learn(bench, lambda: [f for x in (whole, cubes) for f in network.encode(x)])


def decoder(bench: Bench) -> Timed:
    """All passes of the decoder with gradient: two labeled and four mixed patches, and cubes."""
    network = bench.method().network
    whole = bench.random(IMAGES + 2, 1, *bench.size.patch_shape)
    cubes = partition(whole[:2], _grid(bench)).flatten(0, 1)
    with torch.no_grad(), _autocast(bench):
        made = [network.encode(images) for images in (whole, cubes)]
    leaves = [[level.detach().requires_grad_() for level in levels] for levels in made]
    return lambda: _learn(bench, lambda: [network.decode(levels) for levels in leaves])


def text_head(bench: Bench) -> Timed:
    """The generated networks of four patches: 8 channels to all classes, forward and backward."""
    features, parameters = _head_inputs(bench)
    gradient = torch.ones_like(apply_generated(features, parameters))
    return lambda: torch.autograd.backward(apply_generated(features, parameters), gradient)


def text_head_forward(bench: Bench) -> Timed:
    """The same without gradient."""
    features, parameters = _head_inputs(bench)
    return torch.no_grad()(lambda: apply_generated(features, parameters))


def text_head_floor(bench: Bench) -> Timed:
    """Its tensors read and written once: what `text_head` cannot be faster than."""
    features, parameters = _head_inputs(bench)
    with torch.no_grad():
        logits = apply_generated(features, parameters)
    some, all_classes = torch.empty_like(features), torch.empty_like(logits)

    def run() -> None:
        all_classes.fill_(1)  # logits written
        some.copy_(features.detach())  # features read, their gradient written
        logits.sum()  # gradient of the logits read
        features.detach().sum()  # features read again

    return run


def ga_losses(bench: Bench) -> Timed:
    """GA cross-entropy and GA-Dice of two patches, forward and backward."""
    logits = bench.random(2, bench.size.classes, *bench.size.patch_shape, grad=True)
    labels = bench.labels(2)

    def run() -> None:
        lost = ga_cross_entropy(logits, labels) + ga_dice(logits.float().softmax(1), labels)
        lost.backward()

    return run


def cube_handling(bench: Bench) -> Timed:
    """Exchange, its undoing, partition and recovery of decoded features."""
    volumes, grid = bench.random(IMAGES, bench.size.width, *bench.size.patch_shape), _grid(bench)
    count = grid[0] * grid[1] * grid[2]
    generator = torch.Generator(bench.device).manual_seed(0)
    sources = draw_exchange(IMAGES, count, generator)

    def run() -> None:
        mixed = exchange(volumes, sources, grid)
        exchange(mixed, sources.argsort(0), grid)
        recover(partition(volumes, grid), grid)

    return run


def contrast_sampling(bench: Bench) -> Timed:
    """Rows drawn and compared at the three deepest levels, forward and backward."""
    size = bench.size
    widths = [size.width * 2**level for level in range(size.levels)][-DEEP:]
    sides = [size.patch // 2**level for level in range(size.levels)][-DEEP:]
    levels = [
        bench.random(3 * IMAGES, c, s, s, s, grad=True) for c, s in zip(widths, sides, strict=True)
    ]
    labels = bench.labels(3 * IMAGES)
    generator = torch.Generator(bench.device).manual_seed(0)

    def run() -> None:
        for level, samples in zip(levels, size.samples, strict=True):
            small = resize_labels(labels, level.shape[2:])
            rows, kinds = sample_rows(level, small, samples, size.classes, generator)
            contrast(rows.float(), kinds).backward()

    return run


def teacher_update(bench: Bench) -> Timed:
    """The mean teacher follows its student."""
    student = bench.method().network
    teacher = make_teacher(student)
    return lambda: update_teacher(teacher, student, 1000, 0.99)


def blending(bench: Bench) -> Timed:
    """The teacher's pass over cubes, the blended logits and their labels, without gradient."""
    method, batch = bench.method(), bench.batch()
    logits = bench.random(2, bench.size.classes, *bench.size.patch_shape).float()

    @torch.no_grad()
    def run() -> None:
        with _autocast(bench):
            PseudoLabels.of(method._blended_logits(batch, [], PseudoLabels.of(logits)))

    return run


def pseudo_labels(bench: Bench) -> Timed:
    """The most probable classes of two patches, and their entropy."""
    logits = bench.random(2, bench.size.classes, *bench.size.patch_shape).float()
    return lambda: (most_probable(logits), entropy(logits.softmax(1)))


def sliding_windows(bench: Bench) -> Timed:
    """A scan segmented: windows, averages, arg-max plane by plane."""
    network = bench.method().network
    image = bench.random(*bench.size.scan).float()

    def run() -> list[Tensor]:
        with _autocast(bench):
            window = SlidingWindow(bench.size.patch_shape, bench.size.overlap, blend="constant")
            planes = window.planes(network, image)
            return [most_probable(plane[None])[0].to(torch.uint8).cpu() for plane in planes]

    return run


def data_stream(bench: Bench) -> Timed:
    """A batch from prepared files, made in this process, all cases in memory."""
    return _batches_of(PatchStream(*_cases(bench), patch=bench.size.patch_shape))


def data_stream_crops(bench: Bench) -> Timed:
    """The same with no case in memory: crops are read from the files."""
    return _batches_of(PatchStream(*_cases(bench), patch=bench.size.patch_shape, cached_cases=0))


def data_stream_volumes(bench: Bench) -> Timed:
    """A volume and its labels read whole, once for every patch: what crops save."""
    labeled, unlabeled = _cases(bench)
    return lambda: [read_case(path) for path in (*labeled, *unlabeled[:2])]


def data_stream_device(bench: Bench) -> Timed:
    """A batch cut out of volumes that live on the device."""
    return _batches_of(
        PatchStream(*_cases(bench), patch=bench.size.patch_shape, device=bench.device)
    )


def data_stream_worker(bench: Bench) -> Timed:
    """A step of TAK whose batch is read ahead by one worker, four beside a GPU, crop by crop.

    Gives the seconds that were waited.
    """
    stream = PatchStream(*_cases(bench), patch=bench.size.patch_shape, cached_cases=0)
    workers = 4 if bench.device.type == "cuda" else 1
    ahead, learn = batches(stream, 0, 10_000, workers=workers), step(bench, "magicnet")

    def run() -> float:
        begin = time.perf_counter()
        next(ahead)
        waited = time.perf_counter() - begin
        learn()
        return waited

    return run


def metrics_dice(bench: Bench) -> Timed:
    """Dice of every organ of a scan."""
    truth, names = bench.scan_labels(), [str(place) for place in range(bench.size.classes)]
    return lambda: dice(np.roll(truth, 1, 0), truth, names)


def metrics_surface(bench: Bench) -> Timed:
    """NSD, HD95 and ASSD of one organ of a scan."""
    truth = bench.scan_labels() == 1
    return lambda: surface_scores(np.roll(truth, 1, 0), truth, (1.5, 1.5, 2.0))


def encode_texts(bench: Bench) -> Timed:
    """Two sentences per class through the hashing encoder, which needs no weights."""
    from knowledge.encoders.hashing import Hashing

    encoder = Hashing(bench.size.text_width)
    texts = [f"organ {place} lies left of organ {place + 1}" for place in range(32)]
    return lambda: encoder.encode(texts)


def _head_inputs(bench: Bench) -> tuple[Tensor, Tensor]:
    features = bench.random(IMAGES, 8, *bench.size.patch_shape, grad=True)
    parameters = bench.random(IMAGES, bench.size.classes, PARAMETERS, grad=True)
    return features, parameters


def _learn(bench: Bench, run: Callable[[], list[Tensor]]) -> None:
    with _autocast(bench):
        made = run()
    torch.autograd.backward(made, [torch.ones_like(part) for part in made])


def _autocast(bench: Bench) -> torch.autocast:
    return torch.autocast(bench.device.type, bench.precision, enabled=bool(bench.precision))


def _grid(bench: Bench) -> tuple[int, ...]:
    return (bench.size.patch // bench.size.cube,) * 3


def _cases(bench: Bench) -> tuple[list[Path], list[Path]]:
    folder = Path(tempfile.mkdtemp(prefix="tak-benchmark-"))
    _FOLDERS.append(folder)
    files = [folder / f"case_{place}.h5" for place in range(6)]
    image = np.random.default_rng(0).random(bench.size.scan).astype(np.float32)
    for path in files:
        label = bench.scan_labels()
        arrays = {"image": image, "label": label, "source_label": label}
        write_case(path, arrays, ATTRIBUTES | {"source_shape": bench.size.scan})
    return files[:2], files[2:]


_FOLDERS: list[Path] = []  # to be removed by the worker when it has measured


def folders() -> list[Path]:
    """The temporary folders that items have made."""
    return _FOLDERS


def _batches_of(stream: PatchStream) -> Timed:
    steps = itertools.count()
    return lambda: stream[next(steps)]


PARTS: dict[str, Callable[[Bench], Timed]] = {
    item.__name__: item
    for item in (
        warm_up_step, encoder, decoder, text_head, text_head_forward, text_head_floor, ga_losses,
        cube_handling, contrast_sampling, teacher_update, blending, pseudo_labels,
        sliding_windows, data_stream, data_stream_crops, data_stream_volumes,
        data_stream_device, data_stream_worker, metrics_dice, metrics_surface, encode_texts,
    )
}  # fmt: skip
