"""A trained model: predicts scans from Python."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attention_unet.dataset.reading import read_channels
from attention_unet.errors import ConfigError
from attention_unet.inference.channels import warn_of_absent
from attention_unet.inference.components import Gains
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.locator import Locator
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.inference.window_predictor import place_network
from attention_unet.network import UNet
from attention_unet.preparation.plan import Plan
from attention_unet.scans.volumes import Volume, image_like, label_image, volume_of_array, volume_of_image


@dataclass(frozen=True)
class ScanPrediction:
    """Results for a scan, as images on the scan's own grid.

    Attributes:
        label_map: the integers of the training's label files, with names and colours of the classes for viewers.
        attention: by place, such as "skip 1", the attention weights averaged over channels.
        probabilities: of background and classes, or of overlapping classes, (I, J, K, C); None if not wanted.
        uncertainty: "entropy", 0 to 1; empty if not wanted.
    """

    label_map: nib.Nifti1Image
    attention: dict[str, nib.Nifti1Image]
    probabilities: nib.Nifti1Image | None
    uncertainty: dict[str, nib.Nifti1Image]


@dataclass(frozen=True)
class Model:
    """A trained network with what its use needs.

    Attributes:
        network: in evaluation mode, on the device.
        plan: preprocessing, patch and classes of its training.
        device: to compute on.
        overlap: overlap of windows, as chosen on held-out cases; 0.5 if none was chosen.
        locator: finds the part of a scan to predict; None: whole scans are predicted.
        component_gains: by class, what dropping small components gained on held-out cases.
        sha256: of weights and description; empty if it was not read from a file.
        trained_on: its training cases, as hashes; None if the file does not contain them.
        file: the file.
    """

    network: UNet
    plan: Plan
    device: torch.device
    overlap: float = 0.5
    locator: Locator | None = None
    component_gains: Gains = field(default_factory=dict)
    sha256: str = ""
    trained_on: TrainedOn | None = None
    file: Path | None = None

    def on(self, device: torch.device) -> "Model":
        """Return a copy of the model on another device. It takes no memory of the present one."""
        networks = nn.ModuleList([self.network, *([self.locator.network] if self.locator else [])])
        moved: dict[int, Any] = {
            id(weight): nn.Parameter(weight.to(device), weight.requires_grad) for weight in networks.parameters()
        }
        moved |= {id(buffer): buffer.to(device) for buffer in networks.buffers()}
        network, locator = copy.deepcopy((self.network, self.locator), moved)
        place_network(nn.ModuleList([network, *([locator.network] if locator else [])]), device)
        return replace(self, network=network, locator=locator, device=device)

    def predict(
        self,
        scan: str | Path | nib.Nifti1Image | NDArray[Any],
        settings: Settings = DEFAULT,
        *,
        spacing_mm: Sequence[float] | None = None,
        affine: NDArray[np.float64] | None = None,
    ) -> ScanPrediction:
        """Segment a scan.

        Args:
            scan: path of a file or DICOM folder, nibabel image, or array (I, J, K) or (C, I, J, K). Of files per
                channel, ``CASE_0000.nii.gz`` and so on, name any. An array needs exactly one of ``spacing_mm`` and
                ``affine``.
            settings: how to predict, and which results are wanted beside the label map.
            spacing_mm: voxel size of an array whose axes run to the patient's right, front and top (RAS+), in mm.
            affine: 4 x 4 voxel-to-RAS+ matrix of an array, in mm.

        Raises:
            ConfigError: if there is no scan at the path, or several.
            DataError: if the scan cannot be used.
            TypeError: if the scan is of another type.
            ValueError: if an array has not exactly one of ``spacing_mm`` and ``affine``, or a file or image has any.

        Example:
            >>> from attention_unet import Settings, load_model
            >>> model = load_model("hippocampus")
            >>> scan = np.random.default_rng(0).normal(size=(36, 50, 36)).astype(np.float32)
            >>> result = model.predict(scan, Settings(attention=True), spacing_mm=(1, 1, 1))
            >>> result.label_map.shape, sorted(result.attention)
            ((36, 50, 36), ['skip 1', 'skip 2'])
        """
        volume = _read_scan(scan, spacing_mm, affine, self.plan, settings.memory)
        found = predict_volume([self], volume, settings)
        shares = found.probabilities
        return ScanPrediction(
            label_image(found.label_map, volume, self.plan.labels),
            {place: image_like(weights, volume) for place, weights in found.attention.items()},
            None if shares is None else image_like(np.moveaxis(shares, 0, -1), volume),
            {measure: image_like(values, volume) for measure, values in found.uncertainty.items()},
        )


def _read_scan(
    scan: Any, spacing_mm: Sequence[float] | None, affine: NDArray[np.float64] | None, plan: Plan, memory: int | None
) -> Volume:
    if not isinstance(scan, str | Path | nib.Nifti1Image | np.ndarray):
        raise TypeError(
            f"scan is of type {type(scan).__name__}: expected a path, a nib.Nifti1Image (of another nibabel image: "
            "nib.Nifti1Image.from_image) or a numpy array"
        )
    if isinstance(scan, np.ma.MaskedArray):
        raise TypeError("scan is a masked array: expected all voxels; fill it with scan.filled()")
    if (spacing_mm is not None) + (affine is not None) != isinstance(scan, np.ndarray):
        raise ValueError("expected spacing_mm or affine with an array, and neither with a file, which has its own")
    if spacing_mm is not None and (np.shape(spacing_mm) != (3,) or not min(spacing_mm) > 0):
        raise ValueError(f"spacing_mm is {spacing_mm}: expected three numbers above 0, one per axis")
    if isinstance(scan, np.ndarray):
        return volume_of_array(scan, np.diag([*spacing_mm, 1.0]) if spacing_mm is not None else np.asarray(affine))
    if isinstance(scan, nib.Nifti1Image):
        return volume_of_image(scan)
    cases = find_inputs(Path(scan), len(plan.channels), plan.channels_may_miss)
    if len(cases) > 1:
        raise ConfigError(f"{scan}: holds {len(cases)} scans: name one of them, or use predict_folder")
    warn_of_absent(cases[0], plan.channels)
    return read_channels(cases[0], memory)
