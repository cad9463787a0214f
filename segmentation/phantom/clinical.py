"""Subjects that differ as patients do: contrast phase, sex, disease, look-alikes, scanners.

In plain phantoms the HU names most organs. Here HU vary by subject, organ and contrast phase so
that neighbors overlap, and muscles, vessels, bowel and lymph nodes have the HU of organs without
being labeled. Volumes of the large organs follow measurements on CT (male and female; Geraghty et
al., Abdominal Imaging 29, 2004): liver 1710 and 1411 ml, spleen 238 and 180, a kidney 193 and 157,
pancreas 87 and 64. The other volumes, deviations, HU and frequencies of variants are rounded values
of anatomy and radiology texts, not measurements.
"""

from dataclasses import replace

import numpy as np

from segmentation.anatomy.body import (
    ABDOMEN_MM,
    ORGANS,
    PELVIC,
    PELVIS_MM,
    Part,
    Variation,
    surroundings,
)
from segmentation.anatomy.shapes import Above, Common, Ellipsoid, Placed, Shape, volume_ml
from segmentation.common.suggest import unknown
from segmentation.phantom.subject import Pose, Scanner, Subject

# Organ: ml of a man, ml of a woman, relative deviation.
VOLUMES_ML = {
    "liver": (1710, 1411, 0.17),
    "spleen": (238, 180, 0.40),
    "right kidney": (193, 157, 0.08),
    "left kidney": (193, 157, 0.08),
    "pancreas": (87, 64, 0.25),
    "right adrenal gland": (4.7, 4.0, 0.2),
    "left adrenal gland": (4.9, 4.2, 0.2),
    "gallbladder": (32, 28, 0.45),
    "stomach": (320, 280, 0.40),
    "duodenum": (85, 75, 0.20),
    "bladder": (200, 200, 0.45),
}
# Share of a solid that stays labeled: organs painted later and the cavity's wall take the rest.
_KEPT = {"liver": 0.89, "spleen": 0.90, "gallbladder": 0.83, "stomach": 0.95, "duodenum": 0.96,
         "bladder": 0.92}  # fmt: skip
KIDNEY_DEVIATION = 0.17  # of both kidneys of a subject together
PROSTATE_ML, UTERUS_ML = (32, 0.35), (75, 0.4)

# Tissue: HU without contrast, and the gain in the arterial, portal venous and late phase.
TISSUES = {
    "liver": (56, (18, 54, 36)),
    "spleen": (46, (78, 74, 46)),
    "kidney": (33, (115, 130, 95)),
    "pancreas": (40, (58, 50, 32)),
    "adrenal": (28, (42, 46, 30)),
    "aorta": (42, (230, 112, 58)),
    "vein": (42, (45, 104, 56)),
    "esophagus": (40, (22, 32, 24)),
    "bowel": (36, (28, 36, 26)),
    "gland": (42, (22, 46, 38)),  # prostate or uterus
    "muscle": (54, (5, 10, 9)),
}
PHASES = ("none", "arterial", "portal venous", "late")
PHASE_SHARES = (0.08, 0.17, 0.60, 0.15)
_TISSUE_OF = {
    "liver": "liver", "spleen": "spleen", "right kidney": "kidney", "left kidney": "kidney",
    "pancreas": "pancreas", "right adrenal gland": "adrenal", "left adrenal gland": "adrenal",
    "aorta": "aorta", "inferior vena cava": "vein", "esophagus": "esophagus",
    "prostate or uterus": "gland", "gallbladder": "bile", "bladder": "urine",
    "stomach": "stomach", "duodenum": "duodenum",
}  # fmt: skip


def clinical_subject(names: tuple[str, ...], random: np.random.Generator) -> Subject:
    """A subject as in a clinic's archive; every draw is of `random`.

    Raises:
        LookupError: an organ without a shape.
    """
    for name in names:
        if name not in ORGANS:
            raise LookupError(unknown("shape for", name, tuple(ORGANS)))
    male = bool(random.random() < 0.5)
    hu = draw_hu(random)
    pose = _pose(random)
    height = _height(names, random)
    missing = _missing(random) | {name for name in PELVIC if height[0] > PELVIS_MM}
    body = float(np.prod(pose.size))
    shapes = _shapes(random, male, missing, body)
    parts = [
        part
        for name, shape in shapes.items()
        if name in names
        for part in _painted(name, shape, hu, random)
    ]
    others = _look_alikes(Variation(random), hu, height[0])
    absent = frozenset(missing & set(names))
    return Subject(parts, others, pose, height, absent, hu["muscle"])


def draw_scanner(random: np.random.Generator) -> Scanner:
    """A scanner: sharp kernels are noisy, thick slices blur, fields of view differ."""
    kernel = random.uniform(0.4, 1.6)
    slices = random.choice([1.0, 2.5, 5.0], p=[0.3, 0.3, 0.4])
    noise = random.uniform(9, 16) / kernel**0.5 / slices**0.25
    return Scanner(
        noise_hu=float(noise),
        texture_hu=float(random.uniform(5, 11)),
        bias_hu=float(random.uniform(3, 9)),
        blur_mm=(float(kernel), float(kernel), float(slices / 12**0.5)),  # of a box of this width
        margin=(1.0, 1.2),
    )


def draw_hu(random: np.random.Generator) -> dict[str, float]:
    """HU by tissue of one subject, contents of hollow organs included."""
    phase = random.choice(len(PHASES), p=PHASE_SHARES)
    strength = np.exp(random.normal(0, 0.2))
    hu = {}
    for tissue, (plain, gains) in TISSUES.items():
        gain = gains[phase - 1] if phase else 0
        own = np.exp(random.normal(0, 0.12))
        hu[tissue] = plain + gain * strength * own + random.normal(0, 5)
    if random.random() < 0.2:  # fatty liver
        hu["liver"] -= random.uniform(15, 45)
    hu["bile"] = random.normal(10, 6)
    hu["urine"] = random.normal(6, 4) + (random.uniform(20, 250) if phase == 3 else 0)
    opaque = random.random() < 0.2  # contrast agent by mouth
    for organ in ("stomach", "duodenum", "loops"):
        water, food = random.normal(12, 8), hu["bowel"] + random.normal(0, 12)
        hu[organ] = random.uniform(120, 260) if opaque else random.choice([water, food, food])
    return hu


def _pose(random: np.random.Generator) -> Pose:
    pose = Pose.draw(random)
    bow = random.uniform(6, 14) if random.random() < 0.12 else 0.0
    return replace(
        pose,
        size=np.exp(random.normal(0, 0.05) + random.normal(0, 0.03, 3)),
        fat_mm=float(random.uniform(5, 40)),
        bow_mm=float(bow),
        bow_phase=float(random.uniform(0, 2 * np.pi)),
    )


def _height(names: tuple[str, ...], random: np.random.Generator) -> tuple[float, float]:
    """Three in four scans reach the floor of the pelvis, if its organs are wanted."""
    low, high = ABDOMEN_MM[0], random.uniform(118, 140)
    cut = random.random() < 0.25
    end = random.uniform(-190, ABDOMEN_MM[0])
    if set(names) & set(PELVIC):
        low = end if cut else PELVIS_MM
    return float(low), float(high)


def _missing(random: np.random.Generator) -> set[str]:
    missing = set()
    if random.random() < 0.12:
        missing.add("gallbladder")
    if random.random() < 0.02:
        missing.add(str(random.choice(["right kidney", "left kidney"])))
    return missing


def _shapes(
    random: np.random.Generator, male: bool, missing: set[str], body: float
) -> dict[str, Shape]:
    """Every organ that is there, at its volume, in the order of painting."""
    vary = Variation(random)
    both = np.exp(random.normal(0, KIDNEY_DEVIATION))
    enlarged = 2.2 if random.random() < 0.05 else 1.0
    shapes: dict[str, Shape] = {}
    for name, (_, draw) in ORGANS.items():
        shape = draw(vary)
        own = random.normal(0, 1)
        shift = random.normal(0, (2, 2, 5))
        low_kidney = random.random() < 0.03
        if name in missing:
            continue
        if name == "prostate or uterus":
            shape, (mean, deviation) = _gland(vary, male)
        elif name in VOLUMES_ML:
            of_man, of_woman, deviation = VOLUMES_ML[name]
            mean = of_man if male else of_woman
        else:
            shapes[name] = shape
            continue
        if "kidney" in name:
            mean *= both * (1.35 if missing & {"right kidney", "left kidney"} else 1)
            shift[2] -= 45 if low_kidney else 0
        if name == "spleen":
            mean *= enlarged
        spread = np.sqrt(np.log1p(deviation**2))  # of a lognormal with this relative deviation
        mean /= _KEPT.get(name, 1)
        target = mean * np.exp(own * spread - spread**2 / 2) / body
        step = 2.0 if mean > 20 else 1.0
        factor = float((target / volume_ml(shape, step)) ** (1 / 3))
        low, high = shape.bounds()
        shapes[name] = Placed(shape, tuple((low + high) / 2), factor, tuple(shift))
    return shapes


def _gland(vary: Variation, male: bool) -> tuple[Shape, tuple[float, float]]:
    if male:
        return vary.blob((0, 2, -272), (24, 18, 19)), PROSTATE_ML
    return vary.blob((0, -22, -232), (25, 20, 30), (25, 0, 0)), UTERUS_ML


def _painted(
    name: str, shape: Shape, hu: dict[str, float], random: np.random.Generator
) -> list[Part]:
    """The organ with what lies in it: gas in the stomach and duodenum, veins in the liver."""
    fluid = {
        "gallbladder": "bile",
        "bladder": "urine",
        "stomach": "stomach",
        "duodenum": "duodenum",
    }
    parts = [Part(name, shape, hu[fluid.get(name) or _TISSUE_OF[name]])]
    low, high = (corner[1] for corner in shape.bounds())
    gas, level = random.random(), random.uniform(0.55, 0.9)
    if name in ("stomach", "duodenum") and gas < 0.6:
        parts.append(Part(name, Above(shape, 1, float(low + (high - low) * level)), -800.0))
    if name == "liver":
        vary = Variation(random)
        for knots in (
            ((22, -2, 92, 5), (60, 6, 70, 4), (95, 20, 40, 3)),
            ((20, 2, 92, 5), (30, 40, 70, 4), (36, 60, 40, 3)),
            ((24, 14, 10, 6), (48, 12, 30, 6), (80, -14, 44, 4)),
        ):
            parts.append(Part(name, Common((vary.tube(*knots), shape)), hu["vein"]))
    return parts


def _look_alikes(vary: Variation, hu: dict[str, float], low_mm: float) -> list[Part]:
    """Unlabeled tissue with the HU of organs."""
    parts = [_recolored(part, hu) for part in surroundings(vary, low_mm)]
    parts += _bowel(vary, hu, low_mm)
    parts += _vessels(vary, hu)
    for side in (-1, 1):  # crura of the diaphragm, beside the adrenal glands
        crus = vary.tube((16 * side, -24, 70, 5), (15 * side, -28, 20, 6), (10 * side, -32, -40, 4))
        parts.append(Part("crus", crus, hu["muscle"]))
    for _ in range(vary.random.integers(6, 16)):  # lymph nodes and small vessels
        place = vary.random.uniform((-55, -40, -100), (55, 30, 60))
        radii = vary.random.uniform(2.5, 7, 3)
        parts.append(Part("node", Ellipsoid(place, radii), vary.random.uniform(25, 120)))
    return parts


def _recolored(part: Part, hu: dict[str, float]) -> Part:
    tissue = {"heart": "vein", "psoas": "muscle", "bowel": "loops", "iliac vessel": "vein"}
    return replace(part, hu=hu[tissue[part.name]]) if part.name in tissue else part


def _bowel(vary: Variation, hu: dict[str, float], low_mm: float) -> list[Part]:
    """Colon along the frame of the abdomen and loops of small bowel, some with gas."""
    frame = [
        ((98, -8, -110, 19), (100, -6, -70, 20), (96, 8, -38, 18)),
        ((90, 40, -40, 16), (30, 62, -52, 15), (-30, 64, -50, 15), (-88, 36, -14, 15)),
        ((-100, -8, -20, 14), (-102, -14, -70, 14), (-96, -12, -112, 14)),
    ]
    tubes: list[tuple[str, Shape]] = [("colon", vary.tube(*knots, wander_mm=5)) for knots in frame]
    for _ in range(vary.random.integers(8, 14)):
        start = vary.random.uniform((-70, 5, max(low_mm, -180)), (70, 60, -45))
        steps = np.cumsum(vary.random.normal(0, 22, (3, 3)), axis=0)
        radius = vary.random.uniform(9, 14)
        knots = [(*start, radius), *((*(start + step), radius) for step in steps)]
        tubes.append(("loop", vary.tube(*knots)))
    parts = []
    for name, tube in tubes:
        wall = hu["loops"] + vary.random.normal(0, 12)
        parts.append(Part(name, tube, wall))
        if vary.random.random() < (0.7 if name == "colon" else 0.25):
            low, high = (corner[1] for corner in tube.bounds())
            parts.append(Part(name, Above(tube, 1, float(low + 0.5 * (high - low))), -800.0))
    return parts


def _vessels(vary: Variation, hu: dict[str, float]) -> list[Part]:
    """Portal, mesenteric, splenic and renal vessels, and the celiac trunk."""
    veins = [
        ((6, 18, -70, 5), (8, 20, -30, 6), (14, 16, -2, 7), (34, 14, 22, 7)),
        ((10, 16, 0, 5), (-30, 8, 14, 4.5), (-70, -14, 34, 4)),
        ((20, -14, -30, 5), (44, -36, -38, 4.5)),
        ((16, -8, -22, 5), (-14, 0, -24, 5), (-44, -36, -28, 4.5)),
    ]
    arteries = [
        ((-9, -2, -4, 4), (-4, 14, -30, 4), (-2, 20, -80, 3.5)),
        ((-9, -4, 14, 4), (-2, 12, 18, 4), (20, 20, 16, 3)),
    ]
    parts = [Part("vein", vary.tube(*knots), hu["vein"]) for knots in veins]
    return parts + [Part("artery", vary.tube(*knots), hu["aorta"]) for knots in arteries]
