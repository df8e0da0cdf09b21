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


def test_attention_counts_where_a_model_predicted():
    shares = torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1, 1).expand(3, 1, 1, 3)
    first, second = (torch.cat([shares, torch.tensor(maps).view(1, 1, 1, 3)]) for maps in ([0.8, 0.8, 0], [0.6, 0, 0]))
    results, _ = combine_planes([first, second], [["skip 1"], ["skip 1"]], LABELS, Settings())
    assert results["skip 1"].ravel() == pytest.approx([0.7, 0.8, 0])


@pytest.mark.parametrize("overlapping", [True, False])
def test_disagreement_is_the_mutual_information_of_the_class_with_the_largest(overlapping):
    labels = Labels({"a": (1, 4), "b": (4,)}, (1, 4)) if overlapping else LABELS
    random = np.random.RandomState(0)
    each = [random.dirichlet([0.5] * labels.channels, size=6).T for _ in range(3)]
    each[0][:, 0], each[1][:, 0] = ((0.5, 0), (0.5, 1)) if overlapping else ((1, 0, 0), (0, 0, 1))
    planes = [torch.from_numpy(shares).float().view(-1, 1, 2, 3) for shares in each]
    results, _ = combine_planes(planes, [[]] * 3, labels, Settings(uncertainty=True))

    def entropy(shares):
        return -sum(p * np.log(p) for p in shares if p > 0)

    def information(shares_of_models):
        return entropy(np.mean(shares_of_models, axis=0)) - np.mean([entropy(shares) for shares in shares_of_models])

    for voxel, found in enumerate(results["disagreement"].ravel()):
        shares = [model[:, voxel] for model in each]
        of_classes = [information([(s[k], 1 - s[k]) for s in shares]) / np.log(2) for k in range(2)]
        expected = max(of_classes) if overlapping else information(shares) / np.log(3)
        assert found == pytest.approx(expected, abs=1e-6)


def test_of_equal_probabilities_the_first_class_wins():
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]]).T.reshape(3, 3, 1, 1)
    np.testing.assert_array_equal(LABELS.decode(choose_classes(probabilities, LABELS).numpy()).ravel(), [0, 1, 4])
