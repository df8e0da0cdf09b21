import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from attention_unet.training.losses import (
    PresenceLoss,
    SegmentationLoss,
    level_weights,
    present_classes,
    soft_dice_loss,
)

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


def test_soft_dice_is_that_of_monai():
    torch.manual_seed(0)
    probabilities, truth = torch.rand(2, 3, *SHAPE), torch.randint(0, 2, (2, 3, *SHAPE))
    truth[0, 1], truth[1, 2], probabilities[1, 2] = 0, 0, 0
    expected = DiceLoss(smooth_nr=1e-5, smooth_dr=1e-5, reduction="none")(probabilities, truth).flatten(1)
    torch.testing.assert_close(soft_dice_loss(probabilities, truth), expected)


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


def slow_unknown(logits, target, annotated):
    """Compute the loss of exclusive classes voxel by voxel, where some of the truth is unknown."""
    dice, entropies = [], []
    for z, truth, known in zip(logits, target[:, 0], annotated, strict=True):
        p = np.exp(z) / np.exp(z).sum(axis=0)
        for c in range(1, len(p)):
            if known[c - 1]:
                pairs = [(p[(c, *i)], truth[i] == c) for i in np.ndindex(*SHAPE) if truth[i] != 255]
                overlap = sum(q for q, there in pairs if there)
                dice.append(1 - (2 * overlap + 1e-5) / (sum(q + there for q, there in pairs) + 1e-5))
        for i in np.ndindex(*SHAPE):
            possible = [0, *(c for c in range(1, len(p)) if not known[c - 1])] if truth[i] == 0 else [truth[i]]
            if truth[i] != 255:
                entropies.append(-np.log(sum(p[(c, *i)] for c in possible)))
    return np.mean(dice) + np.mean(entropies)


def unknown_truth(ignoring, partial):
    """Return logits, and a target in which a class of the first case is not annotated and voxels are ignored."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, *SHAPE, requires_grad=True)
    target = torch.randint(0, 4, (2, 1, *SHAPE), dtype=torch.uint8)
    if ignoring:
        target[torch.rand(target.shape) < 0.4] = 255
    annotated = torch.ones(2, 3, dtype=torch.bool)
    if partial:
        annotated[0, 1] = False
        target[0][target[0] == 2] = 0
    return logits, target, annotated


@pytest.mark.parametrize(("ignoring", "partial"), [(True, False), (False, True), (True, True)])
def test_unknown_truth_of_exclusive_classes(ignoring, partial):
    logits, target, annotated = unknown_truth(ignoring, partial)
    found = SegmentationLoss(False, ignoring)(logits, target, annotated if partial else None)
    expected = slow_unknown(logits.detach().numpy(), target.numpy(), annotated.numpy())
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)


def test_no_gradient_at_ignored_voxels():
    for overlapping in (False, True):
        logits, target, _ = unknown_truth(True, False)
        if overlapping:
            ignored = target == 255
            target = torch.where(ignored, target, target == torch.arange(4).reshape(1, 4, 1, 1, 1)).to(torch.uint8)
        coarse = torch.randn(2, 4, 2, 3, 5, requires_grad=True)
        SegmentationLoss(overlapping, True)([logits, coarse], target).backward()
        ignored = (target[:, :1] == 255).expand_as(logits)
        assert ignored.any()
        assert (logits.grad[ignored] == 0).all()
        assert (logits.grad[~ignored] != 0).all()
        coarse_ignored = ignored[:, :, 1::2]  # nearest-exact: the upper of two
        assert (coarse.grad[coarse_ignored] == 0).all()


def test_no_gradient_of_a_patch_that_is_ignored_altogether():
    logits = torch.randn(1, 3, *SHAPE, requires_grad=True)
    loss = SegmentationLoss(False, True)(logits, torch.full((1, 1, *SHAPE), 255, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (logits.grad == 0).all()


def test_a_class_without_annotation_may_be_found_in_the_background():
    """Whether background or class is predicted there does not matter; another class does."""
    _, target, annotated = unknown_truth(False, True)
    sure = torch.full((2, 4, *SHAPE), -20.0).scatter_(1, target.long(), 20.0)
    found = sure.clone()
    there = target[0, 0] == 0
    found[0, 0][there], found[0, 2][there] = -20.0, 20.0
    loss = SegmentationLoss(False)
    assert float(loss(found, target, annotated)) == pytest.approx(float(loss(sure, target, annotated)), abs=1e-5)
    assert float(loss(found, target)) > 1
    found[0, 1][there], found[0, 2][there] = 20.0, -20.0
    assert float(loss(found, target, annotated)) > 1


def test_overlapping_classes_without_annotation():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, *SHAPE, requires_grad=True)
    target = torch.randint(0, 2, (2, 3, *SHAPE), dtype=torch.uint8)
    annotated = torch.tensor([[True, False, True], [True, True, True]])
    found = SegmentationLoss(True)(logits, target, annotated)
    found.backward()
    assert (logits.grad[0, 1] == 0).all()
    parts = [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)]
    single = [
        slow_overlapping(logits.detach().numpy()[b : b + 1, k : k + 1], target.numpy()[b : b + 1, k : k + 1])
        for b, k in parts
    ]
    assert float(found.detach()) == pytest.approx(np.mean(single), abs=1e-5)


def test_presence_is_unknown_of_classes_that_are_not_seen():
    target = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    target[0, 0, 0, 0] = 1
    target[1, 0, 0] = 255
    logits = torch.randn(2, 3, requires_grad=True)
    PresenceLoss(False, 1.0, ignoring=True)([logits], target).backward()
    assert (logits.grad != 0).tolist() == [[True, True, True], [True, False, False]]
    logits.grad = None
    annotated = torch.tensor([[False, False], [True, True]])
    PresenceLoss(False, 1.0)([logits], target, annotated).backward()
    assert (logits.grad != 0).tolist() == [[True, True, False], [True, True, True]]
