"""Templates: filled in, checked, and recognized by what the model gets to read."""

from pathlib import Path

import pytest

from knowledge.questions.template import Template

TEXT = """
title = "A"
system = "You look at {region}."
user = "Q: {question}"
[aspects]
place = "Where is the {organ} among {organs}?"
form = "What is the {organ} like?"
[background]
form = "What is the rest like?"
[variables]
region = "rooms"
"""


def write(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_names_and_variables_are_filled_in(tmp_path: Path) -> None:
    template = Template.read(write(tmp_path, TEXT), {"region": "halls"})
    organs = ("background", "lamp", "door")
    assert template.system("lamp", "place", organs) == "You look at halls."
    assert template.user("lamp", "place", organs) == "Q: Where is the lamp among lamp, door?"
    assert template.user("background", "form", organs) == "Q: What is the rest like?"
    assert template.aspects == ("place", "form")


def test_the_digest_ignores_comments_title_and_layout_but_no_word(tmp_path: Path) -> None:
    first = Template.read(write(tmp_path, TEXT))
    same = "# new\n" + TEXT.replace('"A"', '"B"').replace("You look", "You  look")
    assert Template.read(write(tmp_path, same, "b.toml")).digest == first.digest
    other = TEXT.replace("You look", "You stare")
    assert Template.read(write(tmp_path, other, "c.toml")).digest != first.digest
    assert Template.read(tmp_path / "a.toml", {"region": "halls"}).digest != first.digest


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("system =", "sytem =", r"a\.toml: unknown key 'sytem'"),
        ("{organ} like", "{oragn} like", r"aspects\.form: unknown variable \{oragn\}"),
        ("{question}", "it", r"user: must contain \{question\}"),
        ("{organ} like", "{organ like", r"a\.toml: .*aspects\.form"),
        ("[background]\nform", "[background]\nfrom", r"background\.from: no such aspect"),
        ("[aspects]", "[aspects", "not valid TOML"),
        ('title = "A"', "title = 3", "title: input should be a valid string"),
    ],
)
def test_a_mistake_is_answered_with_file_and_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = write(tmp_path, TEXT.replace(before, after))
    with pytest.raises(ValueError, match=message) as caught:
        Template.read(path)
    assert str(path) in str(caught.value)


def test_a_variable_that_the_template_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no variable 'modality'; there is region"):
        Template.read(write(tmp_path, TEXT), {"modality": "MR"})


def test_an_aspect_that_the_template_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no aspect 'color'; there is place, form"):
        Template.read(write(tmp_path, TEXT)).user("lamp", "color", ("background", "lamp"))
