"""A trained network with all that its use needs, in one safetensors file; nothing in it can be executed."""

import copy
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from attention_unet.errors import ModelError
from attention_unet.files.atomic import replacing, write_text
from attention_unet.files.prediction_record import is_complete
from attention_unet.files.run_folder import MODEL_DESCRIPTION, PREDICTIONS, WEIGHTS
from attention_unet.inference.components import ComponentGain, Gains
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.inference.window_predictor import put_channels_last
from attention_unet.machine.devices import choose_device
from attention_unet.network import AttentionUNet, UNet
from attention_unet.preparation.plan import Plan
from attention_unet.scans.volumes import as_volume, label_image, of_image, read_volume

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
FORMAT = 4
DAMAGES = (
    OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, SafetensorError
)  # fmt: skip
SHIPPED = Path(__file__).parents[1] / "models"


@dataclass(frozen=True)
class Model:
    """A network ready to predict.

    Attributes:
        network: in eval mode, on the device.
        plan: it was trained by.
        device: to compute on.
        sha256: of its weights and description, once saved.
        component_gains: by class, what keeping only the largest connected component gained on held-out cases.
        trained_on: its training cases, as hashes; None if the model does not say.
        file: it was read from.
    """

    network: UNet
    plan: Plan
    device: torch.device
    sha256: str = ""
    component_gains: Gains = field(default_factory=dict)
    trained_on: TrainedOn | None = None
    file: Path | None = None

    def on(self, device: torch.device) -> "Model":
        """A copy of the model on another device."""
        return replace(self, network=copy.deepcopy(self.network).to(device), device=device)

    def predict(
        self,
        scan: str | Path | nib.Nifti1Image | NDArray[Any],
        *,
        spacing_mm: Sequence[float] | None = None,
        affine: NDArray[np.float64] | None = None,
        overlap: float = 0.5,
        mirrored: bool = False,
    ) -> nib.Nifti1Image:
        """Label map of a scan, on the scan's own grid.

        Args:
            scan: a file, the folder of a DICOM series, a nibabel image, or an array (I, J, K) or (C, I, J, K), of which
            spacing_mm: of an array without an affine: its axes then run to the right, front and up, or
            affine: 4 x 4, from voxel (i, j, k) to RAS+ millimetres, must be told.
            overlap: of windows, 0 to below 1.
            mirrored: whether to see every window mirrored as well, along the axes that the training mirrored.

        Raises:
            DataError: if the scan cannot be used, saying why.
            ConfigError: if the overlap is out of its range.
            TypeError: if it is none of these.
            ValueError: if of spacing and affine not one is given for an array, or any for a file or image.
        """
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
            raise ValueError(f"spacing_mm is {spacing_mm}: expected three numbers above 0, one an axis")
        if isinstance(scan, np.ndarray):
            volume = as_volume(scan, np.diag([*spacing_mm, 1.0]) if spacing_mm is not None else np.asarray(affine))
        elif isinstance(scan, nib.Nifti1Image):
            volume = of_image(scan)
        else:
            volume = read_volume(Path(scan))
        settings = Settings(overlap=overlap, mirrored=mirrored)
        return label_image(predict_volume([self], volume, settings).label_map, volume, self.plan.labels)


def versions() -> dict[str, str]:
    """Versions of what results depend on most."""
    return {name: version(name) for name in ("attention-unet", "torch", "monai")}


def save_model(folder: Path, weights: Mapping[str, Tensor], plan: Plan, notes: Mapping[str, Any]) -> None:
    """Write ``model.safetensors``, which holds its own description, and a copy of that in ``model.json`` for people.

    Args:
        folder: of the run.
        weights: state of the network.
        plan: what prediction needs to know.
        notes: further plain values for people to read.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    description = {"format": FORMAT, "plan": plan.to_json(), "versions": versions(), **notes}
    description["sha256"] = digest(tensors, description)
    text = json.dumps(description, indent=2, allow_nan=False)
    with replacing(folder / WEIGHTS) as partial:
        partial.write_bytes(save_tensors(tensors, metadata={"description": text}))
    write_text(folder / MODEL_DESCRIPTION, text + "\n")


def load_models(paths: Sequence[str | Path], device: torch.device) -> list[Model]:
    """Read models to be used together: of runs, of the finished folds of a cross-validation, or shipped ones.

    Raises:
        ModelError: if one is missing, damaged or of another format, or they do not say the same classes of the same
            channels.
    """
    files = [file for path in paths for file in finished_folds(Path(path)) or [Path(path)]]
    models = [load_model(file, device) for file in files]
    for file, model in zip(files, models, strict=True):
        if (model.plan.labels, model.plan.channels) != (models[0].plan.labels, models[0].plan.channels):
            raise ModelError(f"{file}: has other classes or channels than {files[0]}: expected models of one dataset")
    return models


def finished_folds(folder: Path) -> list[Path]:
    """Model files of the folds of a cross-validation; none of any other folder.

    Raises:
        ModelError: if there are folds, and not one is finished.
    """
    found = sorted(folder.glob(f"fold*/{WEIGHTS}"))
    finished = [file for file in found if is_complete(file.parent / PREDICTIONS)]
    left = ", ".join(file.parent.name for file in found if file not in finished)
    if found and not finished:
        raise ModelError(f"{folder}: {left} not finished: repeat the same cross-validate, or name one fold with -m")
    if left:
        log.warning("%s: %s not finished: left out", folder, left)
    return finished


def load_model(path: str | Path, device: str | torch.device = CPU) -> Model:
    """Read a model.

    Args:
        path: a run folder, a ``.safetensors`` file that a training wrote, or the name of a model of this package.
        device: to load it to; by name "auto", "cpu", "cuda" or "mps".

    Raises:
        ModelError: if it is missing, damaged, or of another format.
        ConfigError: if there is no such device.
    """
    file = find_model(path)
    device = choose_device(device) if isinstance(device, str) else device
    try:
        with safe_open(file, framework="pt") as content:
            description = json.loads((content.metadata() or {})["description"])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  # not a dict
        if description["format"] != FORMAT:
            raise ModelError(f"{file}: is of format {description['format']}: this version reads {FORMAT} only")
        if digest(tensors, description) != description["sha256"]:
            raise ModelError(f"{file}: is damaged, or was changed (sha256 differs): copy it again")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ModelError(f"{file}: some of its weights are NaN or infinite: train it again")
        plan = Plan.from_json(description["plan"])
        with torch.device("meta"):  # no memory is taken for what the weights of the file do not fill
            expected = {name: tensor.shape for name, tensor in AttentionUNet(**plan.architecture).state_dict().items()}
        if expected != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ModelError(f"{file}: holds other weights than its network has: copy it again")
        network = AttentionUNet(**plan.architecture)
        network.load_state_dict(tensors)
        gains = {
            str(name): ComponentGain(int(cases), float(total), float(squares))
            for name, (cases, total, squares) in description.get("component_gains", {}).items()
        }
        trained_on = TrainedOn.from_json(description["trained_on"]) if "trained_on" in description else None
    except DAMAGES as error:
        raise ModelError(f"{file}: is no model that a training wrote, or damaged ({error}): copy it again") from error
    put_channels_last(network)
    return Model(network.to(device).eval(), plan, device, description["sha256"], gains, trained_on, file)


def find_model(path: str | Path) -> Path:
    """The file of a model; one that lies at the path goes before a shipped one of that name.

    Raises:
        ModelError: if there is none.
    """
    shipped = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    for file in (Path(path) / WEIGHTS, Path(path)):
        with suppress(OSError, ValueError):  # a name too long, or with a null character
            if file.is_file():
                return file
    if str(path) in shipped:
        return SHIPPED / f"{path}.safetensors"
    raise ModelError(
        f"{path}: holds no model: expected a run folder with {WEIGHTS}, such a file, or one of the package's models: "
        f"{', '.join(shipped) or 'none'}"
    )


def digest(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """sha256 over a description, but for what it says of that, and over names, shapes, types and values of tensors."""
    told = json.loads(json.dumps({name: value for name, value in description.items() if name != "sha256"}))
    total = hashlib.sha256(json.dumps(told, sort_keys=True).encode())  # of what a file gives back
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}\n".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
