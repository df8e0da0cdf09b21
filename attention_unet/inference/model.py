"""A trained network with all that its use needs: weights in safetensors, everything else in JSON beside them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from attention_unet.atomic import replacing, write_text
from attention_unet.data.plan import Plan
from attention_unet.errors import ModelError
from attention_unet.network import AttentionUNet

FORMAT = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Model:
    """A network ready to predict on a device, the plan it was trained by, and the sha256 of its weights."""

    network: AttentionUNet
    plan: Plan
    device: torch.device
    sha256: str


def versions() -> dict[str, str]:
    """Versions of what results depend on most."""
    return {name: version(name) for name in ("attention-unet", "torch", "monai")}


def save_model(folder: Path, weights: Mapping[str, Tensor], plan: Plan, notes: Mapping[str, Any]) -> None:
    """Write ``model.safetensors``, then ``model.json``, which holds its sha256.

    Args:
        folder: of the run.
        weights: state of the network.
        plan: what prediction needs to know.
        notes: further plain values for people to read.
    """
    data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    description = {
        "format": FORMAT,
        "plan": plan.to_json(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "versions": versions(),
        **notes,
    }
    with replacing(folder / WEIGHTS) as partial:
        partial.write_bytes(data)
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_model(folder: Path, device: torch.device) -> Model:
    """Read a run's model.

    Raises:
        ModelError: if a file is missing, damaged, or of another format.
    """
    description_path, weights_path = folder / DESCRIPTION, folder / WEIGHTS
    try:
        description = json.loads(description_path.read_text(encoding="utf-8"))
        data = weights_path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder}: holds no model ({error}): expected a run folder with {WEIGHTS} and {DESCRIPTION}"
        ) from error
    if description.get("format") != FORMAT:
        raise ModelError(
            f"{description_path}: format is {description.get('format')}: this version reads {FORMAT}; update"
        )
    if hashlib.sha256(data).hexdigest() != description.get("sha256"):
        raise ModelError(f"{weights_path}: is not what {DESCRIPTION} was written for (sha256 differs): copy both again")
    try:
        plan = Plan.from_json(description["plan"])
        network = AttentionUNet(**plan.architecture)
        network.load_state_dict(load_tensors(data))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{description_path}: does not describe its weights ({error}): copy both again") from error
    return Model(network.to(device).eval(), plan, device, description["sha256"])
