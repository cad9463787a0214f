"""A study of seconds: phantoms at 16 mm and a network that learns nothing in six steps."""

TINY_DATA = """
[data]
phantom = {labeled = 2, unlabeled = 2, validation = 1, test = 2, spacing = 10, seed = 5}
descriptor = "phantom"
spacing = [16, 16, 16]
"""
TINY_FIXED = """
[fixed]
encoder = "hashing:16"
recipe = "demo"
"network.width" = 4
"network.levels" = 3
"training.patch" = [16, 16, 16]
"method.cube" = 8
"method.location_hidden" = 16
"training.steps" = 6
"training.warmup_steps" = 2
"training.validate_every" = 3
"training.checkpoint_every" = 2
"""


def write_study(folder, head='title = "Tiny"\n', tail="", *, data=TINY_DATA, fixed=TINY_FIXED):
    """A study file in a folder."""
    path = folder / "tiny.toml"
    path.write_text(head + data + fixed + tail, encoding="utf-8")
    return path
