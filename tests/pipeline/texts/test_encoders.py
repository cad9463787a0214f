"""Specs of text encoders, as help lists them and `make_encoder` reads them."""

import subprocess
import sys

import pytest

from pipeline.texts.encoders import forms, make_encoder
from tests.support.paths import ROOT


def test_forms_come_from_every_encoder_without_importing_its_libraries() -> None:
    code = (
        "import sys; from pipeline.texts.encoders import forms; forms(); "
        "print({'torch', 'numpy', 'transformers', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
    assert "transformer:package/NAME" in forms()
    assert set(forms("forms")) < set(forms())


def test_a_mistyped_encoder_is_answered_with_the_one_that_is_meant() -> None:
    with pytest.raises(LookupError, match="did you mean hashing"):
        make_encoder("hasing:8")
