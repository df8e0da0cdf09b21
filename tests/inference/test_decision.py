"""Probabilities of several models as one result, by hand."""

import numpy as np
import pytest
import torch

from attention_unet.inference.decision import choose_classes, combine_planes
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels

LABELS = Labels({"a": (1,), "b": (4,)}, (1, 4))


def test_attention_of_a_place_is_averaged_over_the_models_that_all_have_it():
    shares = torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1, 1)
    first, second = (torch.cat([shares, torch.tensor(maps).view(-1, 1, 1, 1)]) for maps in ([0.1, 0.2], [0.6]))
    results, _ = combine_planes([first, second], [["skip 1", "skip 2"], ["skip 2"]], LABELS, Settings())
    assert set(results) == {"label map", "skip 2"}
    assert results["skip 2"].item() == pytest.approx((0.2 + 0.6) / 2)
    assert results["label map"].item() == 1


def test_of_equal_probabilities_the_first_class_wins():
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]]).T.reshape(3, 3, 1, 1)
    np.testing.assert_array_equal(LABELS.decode(choose_classes(probabilities, LABELS).numpy()).ravel(), [0, 1, 4])
