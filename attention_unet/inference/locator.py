"""Locate the structures in a coarse view of a scan, so that windows visit only the part that holds them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from attention_unet.inference.sliding_window import slide
from attention_unet.inference.window_predictor import place_network, window_predictor
from attention_unet.network import AttentionUNet, UNet
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessed
from attention_unet.preparation.region import MARGINS
from attention_unet.scans.foreground import bounding_box
from attention_unet.scans.geometry import ScanGrid

if TYPE_CHECKING:
    from attention_unet.inference.model import Model

SURE, FOUND = 0.5, 0.2  # probability of a structure in some coarse voxel of a piece, and in each of them
ALL_VOXELS = 10**6  # along an axis; more than any scan has
CUT = 0.005  # least share of a structure in the border plane of the part: below it, the structure is not cut
Box = list[tuple[int, int]]  # (start, stop) along each axis


@dataclass(frozen=True)
class Locator:
    """A small network that finds all structures together in coarse voxels."""

    network: UNet  # with the classes "background" and "structures", in evaluation mode
    plan: Plan  # its voxels are those of the model's plan times the factors
    factors: tuple[int, int, int]  # voxels of the model's grid in a coarse voxel, along each axis
    margin: int = MARGINS[0]  # coarse voxels around those in which structures are found

    @property
    def margin_voxels(self) -> tuple[int, int, int]:
        """Voxels around structures in the box that it finds, at most, if it finds them exactly."""
        margin = [(1 + self.margin) * factor for factor in self.factors]
        if stack := self.plan.preprocessing.stack:
            margin[stack.axis] = ALL_VOXELS
        i, j, k = margin
        return i, j, k

    def to_json(self) -> dict[str, Any]:
        """Return plan, factors and margin as plain values for a JSON file."""
        return {"plan": self.plan.to_json(), "factors": list(self.factors), "margin": self.margin}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], weights: Mapping[str, Tensor], device: torch.device) -> "Locator":
        """Make a locator from values of ``to_json`` and weights. Raise RuntimeError if these are of another network."""
        plan = Plan.from_json(plain["plan"])
        network = AttentionUNet(plan.architecture).float()
        network.load_state_dict(weights)
        i, j, k = map(int, plain["factors"])
        return cls(place_network(network, device).eval(), plan, (i, j, k), int(plain["margin"]))

    @torch.inference_mode()
    def locate(self, image: Tensor) -> Box | None:
        """Return the box of an image (C, *S) that holds structures, in its voxels; None if it finds no structure.

        It keeps all thick slices: there are few, and the first and the last are hard to decide.
        """
        device = next(self.network.parameters()).device
        unseen = torch.tensor([1.0, 0.0], dtype=torch.float32)
        predictor = window_predictor(self.network, self.plan, torch.float32, [])
        coarse = coarsen(image, self.factors).to(device)
        stack_axis = self.plan.preprocessing.stack_axis
        planes = list(slide(coarse, self.plan.patch, predictor, unseen=unseen, overlap=0.25, stack_axis=stack_axis))
        probability = torch.cat(planes, dim=1)[1].cpu().numpy()
        found = bounding_box(ndimage.binary_propagation(probability > SURE, mask=probability > FOUND))
        if found[0].start == found[0].stop:
            return None
        box = [
            (max(side.start - self.margin, 0) * factor, min((side.stop + self.margin) * factor, n))
            for side, factor, n in zip(found, self.factors, image.shape[1:], strict=True)
        ]
        if stack := self.plan.preprocessing.stack:
            box[stack.axis] = (0, image.shape[1 + stack.axis])
        return box


def cut_to_structures(model: "Model", image: Preprocessed) -> Preprocessed:
    """Cut an image to the part that may hold structures, at least as large as a window.

    Return the whole image if nothing was found, or if the model has no locator.
    """
    box = model.locator.locate(image.image) if model.locator else None
    if box is None:
        return image
    box = enlarge(box, image.scan_grid.grid, model.plan.patch)
    i, j, k = (slice(*side) for side in box)
    return replace(image, image=image.image[:, i, j, k], scan_grid=image.scan_grid.cut(box))


def is_cut(label_map: NDArray[np.generic], part: ScanGrid, whole: ScanGrid) -> bool:
    """Return whether the border of a part cuts a structure, where the scan goes on.

    All are along RAS+ axes: the label map (I, J, K), the part that was predicted, and the whole that can be predicted.
    """
    found: Counter[int] = Counter()
    for axis in range(3):
        inside, low, high = part.covered(axis), part.start[axis], part.start[axis] + part.grid[axis]
        ends = [inside.start] * (low > whole.start[axis])
        ends += [inside.stop - 1] * (high < whole.start[axis] + whole.grid[axis])
        for end in ends:
            for value, count in zip(*np.unique(label_map.take(end, axis), return_counts=True), strict=True):
                found[int(value)] = max(found[int(value)], int(count))
    del found[0]  # the background
    totals = {value: np.count_nonzero(label_map == value) for value in found}
    # A structure that is mostly in the border itself was not cut.
    return any(CUT * totals[value] <= count < totals[value] / 2 for value, count in found.items())


def coarsen(image: Tensor, factors: Sequence[int]) -> Tensor:
    """Average the voxels of an image (C, *S) in blocks; the last block of an axis may be smaller."""
    blocks = [min(factor, n) for factor, n in zip(factors, image.shape[1:], strict=True)]
    return F.avg_pool3d(image[None], blocks, ceil_mode=True, count_include_pad=False)[0]


def enlarge(box: Box, grid: Sequence[int], window: Sequence[int]) -> Box:
    """Enlarge a box about its middle, within the grid, to a window at least.

    Larger boxes, even those that take as many windows, have more false structures far away.
    """
    enlarged = []
    for (start, stop), n, edge in zip(box, grid, window, strict=True):
        length = min(max(stop - start, edge), n)
        first = min(max((start + stop - length) // 2, 0), n - length)
        enlarged.append((first, first + length))
    return enlarged
