"""Run an exported network on a scan, and compare the result with that of the model."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.scans.volumes import Volume


@dataclass(frozen=True)
class Agreement:
    """Agreement of an export with its model on a scan.

    Attributes:
        difference: largest difference of a probability.
        same: share of the voxels with the same label.
    """

    difference: float
    same: float

    def __str__(self) -> str:
        return (
            f"largest difference of a probability {self.difference:.1e}; {100 * self.same:.4f} % of labels are the same"
        )


class _Exported(nn.Module):
    """An exported network in the place of the network of a model."""

    def __init__(self, run: Callable[[Tensor], Tensor], overlapping: bool) -> None:
        super().__init__()
        self.run, self.overlapping = run, overlapping

    def forward(self, windows: Tensor) -> Tensor:
        """Return logits of windows."""
        found = torch.cat([self.run(window[None].contiguous()) for window in windows])
        return torch.logit(found) if self.overlapping else found.clamp(min=torch.finfo(found.dtype).tiny).log()


def compare_export(model: Model, run: Callable[[Tensor], Tensor], scan: Volume) -> Agreement:
    """Predict a scan with a model and with its export, in single precision.

    Args:
        model: the model.
        run: the export: probabilities of windows.
        scan: a scan.
    """
    settings = Settings(precision=torch.float32, probabilities=True)
    exported = replace(model, network=_Exported(run, model.plan.labels.overlapping))  # type: ignore[arg-type]
    own, other = (predict_volume([each], scan, settings) for each in (model, exported))
    difference = np.abs(np.asarray(own.probabilities) - np.asarray(other.probabilities)).max()
    return Agreement(float(difference), float(np.mean(own.label_map == other.label_map)))
