"""The page: one HTML file with style, script and data, which loads nothing else."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.files import shipped
from pipeline.report.content import Material
from pipeline.report.runs.run_data import RunData
from pipeline.report.theme import signed
from pipeline.report.views.measures import measures, trainings
from pipeline.report.views.pictures import learning, shapes, uncertainty, viewer
from pipeline.report.views.scores import summary
from pipeline.report.views.surfaces import surfaces
from pipeline.report.views.texts import texts
from pipeline.results.result_files import evaluation_name
from segmentation.evaluation.rules import named

SECTIONS = (
    ("summary", "Summary"),
    ("organs", "Dice per organ"),
    ("measures", "Surface metrics"),
    ("cases", "Cases"),
    ("surfaces", "Surfaces"),
    ("uncertainty", "Uncertainty"),
    ("shapes", "Size and shape"),
    ("learning", "Learning"),
    ("texts", "Descriptions"),
    ("vectors", "Text vectors"),
    ("about", "How made"),
)
_EMPTY: dict[str, Any] = {
    "heroes": [],
    "organ_rows": [],
    "missed": "",
    "texts": [],
    "text_doubt": "",
    "text_caveats": (),
    "text_problems": [],
    "maps": [],
    "sensitivity": {},
}


def render(material: Material) -> str:
    """The page as HTML. All texts of models, files and users are escaped."""
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "signed": signed}
    scripts = ["theme.js", "viewer.js"]
    scripts += ["vendor/twgl.min.js", "surfaces.js"] if material.surfaces else []
    script = "".join(_source(environment, name) for name in scripts)
    context = {
        **_EMPTY,
        **summary(material),
        **learning(material),
        **texts(material),
        "measures": measures(material),
        "trainings": trainings(material),
        "viewer": viewer(material),
        "surfaces": surfaces(material),
        "uncertainty": uncertainty(material),
        "shapes": shapes(material),
        "absences": absences(material),
        "notes": _notes(material),
        "sections": SECTIONS,
        "version": shipped.version(),
        "style": Markup(_source(environment, "page.css")),
        "script": Markup(script),
        "script_digest": digest_of_script(script),
    }
    return environment.get_template("page.html.j2").render(context)


def prose(sentence: str) -> Markup:
    """A sentence, escaped, with backticks as code."""
    parts = [str(escape(part)) for part in sentence.split("`")]
    return Markup("".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts)))


def digest_of_script(script: str) -> str:
    """The hash of the only script that the content security policy allows."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def absences(material: Material) -> Mapping[str, str]:
    """For every part that may be missing, the reason and the remedy."""
    first = material.first
    flag = "" if material.rules == "scan" else f" --rules {material.rules}"
    scores = (
        f"No scores: {first.name} has no {evaluation_name(material.part, material.rules)}.json. "
        f"`tak evaluate{flag}` writes it, or `tak report{flag} --data PREPARED` scores the run."
    )
    if first.other_rules:
        known = ", ".join(f"`--rules {name}`" for name in first.other_rules)
        scores += f" It was scored by other rules: {known}."
    pictures = shapes_absent = "Not shown: give --data PREPARED, the folder of the prepared scans."
    if material.shape_cases:
        pictures = f"Not shown: no case of the part {material.part} has a score for any organ."
        shapes_absent = f"Not shown: none of {material.shape_cases} labeled scans shows an organ."
    note = "This run has no text: it was trained with a convolutional head and no contrast."
    if first.bank_digest is not None:
        note = "Not shown: the run's folder holds no copy of its bank. Give it by --bank FILE."
    return {
        "scores": scores,
        "baseline": _no_baseline(material),
        "published": material.published.why_none,
        "cases": pictures,
        "surfaces": "Left out by `--no-surfaces`." if material.surfaces is None else pictures,
        "shapes": shapes_absent,
        "log": f"No learning curves: {first.name} has no log.jsonl.",
        "losses": "No loss was logged.",
        "validation": "The run was not validated while it was trained.",
        "texts": note,
        "claims": _no_claims(material),
        "sensitivity": "Whether the run reads its text was not measured: `tak evaluate "
        "--text-sensitivity`.",
    }


def _no_baseline(material: Material) -> str:
    if len(material.arms) > 1:
        return f"No gain: {material.arms[1].first.name} was not scored on this part by these rules."
    return "No baseline: name more runs, `tak report RUN BASELINE`, to see what was gained."


def _no_claims(material: Material) -> str:
    """Why no claim has a verdict; empty if some have, or none is known."""
    if material.outcome is not None:
        return ""
    if any(organ.claims for organ in material.texts):
        return "The claims were not tested: give --data PREPARED or --check FILE."
    return (
        "No claims: the bank holds sentences alone. --descriptions FILE brings their claims, "
        "--check FILE the verdicts that `tak check --report` wrote."
    )


def _notes(material: Material) -> list[str]:
    first = material.first
    notes = [
        "Dice is 2 |A and B| / (|A| + |B|) per organ.",
        *_rule_words(first),
        *material.published.notes,
        f"Configuration and log of {first.name} come from its checkpoint ({first.checkpoint}.pt, "
        f"step {first.step}) and log.jsonl.",
    ]
    if material.bank is not None:
        notes.append(f"Bank: digest {material.bank.digest[:16]}, encoder {material.bank.encoder}.")
    return notes


def _rule_words(run: RunData) -> list[str]:
    if run.evaluation is None:
        return []
    rules = named(run.evaluation.rules)
    return [
        f"Scored by the rules {rules.name}. Grid: {rules.facts['grid']}. Empty masks: "
        f"{rules.facts['empty_masks']}."
    ]


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
