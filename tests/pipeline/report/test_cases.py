"""Cases that a report shows."""

from types import SimpleNamespace

import numpy as np
import torch

from pipeline.report import cases


def test_labels_beyond_255_are_shown_as_they_are(monkeypatch):
    truth = np.arange(300, dtype=np.int16).reshape(10, 6, 5)
    probabilities = torch.nn.functional.one_hot(torch.from_numpy(truth).long(), 300)
    case = SimpleNamespace(label=truth, image=np.zeros(truth.shape, np.float16), affine=np.eye(4))
    monkeypatch.setattr(cases, "read_case", lambda path: case)
    model = SimpleNamespace(classify=lambda image: probabilities.permute(3, 0, 1, 2).float())
    prepared = SimpleNamespace(file=str, spec=SimpleNamespace(scaling="window"))
    evaluation = SimpleNamespace(cases={"a": {}})
    (shown,) = cases.show_cases(model, prepared, evaluation, {"best": "a"}, lambda name: None)
    assert np.array_equal(shown.prediction, truth)
    assert not shown.wrong.any()
