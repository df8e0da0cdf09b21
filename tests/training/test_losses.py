import numpy as np
import pytest
import torch

from attention_unet.training.losses import PresenceLoss, SegmentationLoss, level_weights, present_classes

SHAPE = (4, 3, 5)


def slow_exclusive(logits, target):
    """Compute the loss case by case and class by class: 1 - Dice of the foreground, plus cross-entropy."""
    total = 0.0
    for case in range(len(logits)):
        p = np.exp(logits[case]) / np.exp(logits[case]).sum(axis=0)
        for c in range(1, len(p)):
            truth = target[case, 0] == c
            overlap = (2 * (p[c] * truth).sum() + 1e-5) / (p[c].sum() + truth.sum() + 1e-5)
            total += (1 - overlap) / (len(p) - 1) / len(logits)
        picked = np.take_along_axis(p, target[case].astype(int), axis=0)
        total += -np.log(picked).mean() / len(logits)
    return total


def slow_overlapping(logits, target):
    total = 0.0
    for case in range(len(logits)):
        p = 1 / (1 + np.exp(-logits[case]))
        for c in range(len(p)):
            overlap = (2 * (p[c] * target[case, c]).sum() + 1e-5) / (p[c].sum() + target[case, c].sum() + 1e-5)
            total += (1 - overlap) / len(p) / len(logits)
        entropy = -(target[case] * np.log(p) + (1 - target[case]) * np.log(1 - p))
        total += entropy.mean() / len(logits)
    return total


def test_exclusive_classes():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, *SHAPE), torch.randint(0, 3, (2, 1, *SHAPE), dtype=torch.uint8)
    found = SegmentationLoss(overlapping=False)(logits, target)
    assert float(found) == pytest.approx(slow_exclusive(logits.numpy(), target.numpy()), abs=1e-5)


def test_overlapping_classes():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, *SHAPE), torch.randint(0, 2, (2, 3, *SHAPE), dtype=torch.uint8)
    found = SegmentationLoss(overlapping=True)(logits, target)
    assert float(found) == pytest.approx(slow_overlapping(logits.numpy(), target.numpy()), abs=1e-5)


def test_one_class_with_background():
    logits, target = torch.randn(1, 2, *SHAPE), torch.ones(1, 1, *SHAPE, dtype=torch.uint8)
    found = SegmentationLoss(overlapping=False)(logits, target)
    assert float(found) == pytest.approx(slow_exclusive(logits.numpy(), target.numpy()), abs=1e-5)


def test_level_weights_halve_and_sum_to_one():
    assert sum(level_weights(4)) == pytest.approx(1)
    assert level_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_supervised_levels_are_weighted():
    torch.manual_seed(0)
    target = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)
    target[..., 2:] = 1
    fine, coarse = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 2, 2, 2, 2)
    loss = SegmentationLoss(overlapping=False)
    coarse_target = target[..., ::2, ::2, ::2]  # whole blocks: every nearest voxel has the same label
    expected = 2 / 3 * float(loss(fine, target)) + 1 / 3 * float(loss(coarse, coarse_target))
    assert float(loss([fine, coarse], target)) == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_absent_gives_a_finite_gradient():
    logits = torch.randn(1, 3, *SHAPE, requires_grad=True)
    SegmentationLoss(overlapping=False)(logits, torch.zeros(1, 1, *SHAPE, dtype=torch.uint8)).backward()
    assert torch.isfinite(logits.grad).all()


def test_presence_is_read_from_the_patch():
    target = torch.zeros(2, 1, 4, 3, 5)
    target[0, 0, 1, 1, 1] = 2
    target[1] = 1
    assert present_classes(target, 3, overlapping=False).tolist() == [[1, 0, 1], [0, 1, 0]]
    overlapping = torch.zeros(1, 3, 4, 3, 5)
    overlapping[0, 2, 0, 0, 0] = 1
    assert present_classes(overlapping, 3, overlapping=True).tolist() == [[0, 0, 1]]


def test_presence_loss_is_the_mean_cross_entropy_of_all_tellers():
    target = torch.zeros(1, 1, 2, 2)
    target[0, 0, 0, 0] = 1
    logits = [torch.tensor([[0.3, -0.7, 1.1]]), torch.tensor([[2.0, 0.1, -0.4]])]
    expected = 0.0
    for of_head in logits:
        for z, there in zip(of_head[0].tolist(), (1, 1, 0), strict=True):
            p = 1 / (1 + np.exp(-z))
            expected -= (np.log(p) if there else np.log(1 - p)) / 6
    assert PresenceLoss(False, 0.2)(logits, target).item() == pytest.approx(0.2 * expected, rel=1e-5)
