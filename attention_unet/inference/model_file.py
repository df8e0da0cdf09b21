"""Model files: weights and their description in one safetensors file. Nothing in it can be executed."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attention_unet.attention.mechanisms import added_names
from attention_unet.errors import ModelError, plural
from attention_unet.files.atomic import replacing, write_text
from attention_unet.files.prediction_record import is_complete
from attention_unet.files.run_folder import MODEL_DESCRIPTION, PREDICTIONS, WEIGHTS
from attention_unet.inference.components import ComponentGain
from attention_unet.inference.locator import Locator
from attention_unet.inference.model import Model
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.inference.window_predictor import place_network
from attention_unet.machine.devices import choose_device
from attention_unet.machine.memory import out_of_memory
from attention_unet.network import AttentionUNet
from attention_unet.preparation.plan import Plan

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
FORMAT = 4
LIBRARIES = ("attention-unet", "torch", "monai")
LOCATOR = "locator."  # before the names of its weights
DAMAGES = (
    OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, SafetensorError
)  # fmt: skip
SHIPPED = Path(__file__).parents[1] / "models"


def versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on most, and of packages that add attention."""
    added = [point.dist.name for point in added_names().values() if point.dist]
    return {name: version(name) for name in dict.fromkeys((*LIBRARIES, *added))}


def save_model(
    folder: Path, weights: Mapping[str, Tensor], plan: Plan, notes: Mapping[str, Any], locator: Locator | None = None
) -> None:
    """Write ``model.safetensors``, weights and description, and a readable copy of the description in ``model.json``.

    ``notes`` are further plain values for the description.
    """
    description = {"format": FORMAT, "plan": plan.to_json(), "versions": versions(), **notes}
    if locator:
        description["locator"] = locator.to_json()
        weights = {**weights, **{LOCATOR + name: tensor for name, tensor in locator.network.state_dict().items()}}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    description["sha256"] = digest(tensors, description)
    text = json.dumps(description, indent=2, allow_nan=False)
    with replacing(folder / WEIGHTS) as partial:
        partial.write_bytes(save_tensors(tensors, metadata={"description": text}))
    write_text(folder / MODEL_DESCRIPTION, text + "\n")


def load_models(paths: Sequence[str | Path], device: torch.device) -> list[Model]:
    """Read models to be used together, each as ``load_model`` does. The folder of a cross-validation stands for its
    finished folds. Raise ModelError also if the models differ in classes or channels.
    """
    files = [file for path in paths for file in finished_folds(Path(path)) or [Path(path)]]
    models = [load_model(file, device) for file in files]
    for file, model in zip(files, models, strict=True):
        if (model.plan.labels, model.plan.channels) != (models[0].plan.labels, models[0].plan.channels):
            raise ModelError(f"{file}: has other classes or channels than {files[0]}: expected models of one dataset")
    return models


def finished_folds(folder: Path) -> list[Path]:
    """Return the model files of the finished folds of a cross-validation; an empty list for any other folder.

    Raise ModelError if there are folds, but none is finished.
    """
    found = sorted(folder.glob(f"fold*/{WEIGHTS}"))
    finished = [file for file in found if is_complete(file.parent / PREDICTIONS)]
    left = ", ".join(file.parent.name for file in found if file not in finished)
    if found and not finished:
        raise ModelError(f"{folder}: {left} not finished: repeat the same cross-validate, or name one fold with -m")
    if left:
        log.warning("%s: %s not finished: left out", folder, left)
    return finished


class _WithoutRandomWeights(TorchFunctionMode):
    """Leave out the initialisation of weights. On the device "meta", torch would import its compiler for it (2 s)."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; of those that initialise a tensor, return the tensor."""
        options = options or {}
        if getattr(function, "__module__", None) == "torch.nn.init" or function is Tensor.normal_:
            return args[0] if args else options["tensor"]
        return function(*args, **options)


def _check_shapes(plan: Plan, tensors: Mapping[str, Tensor], file: Path, trained_with: Mapping[str, str]) -> None:
    """Raise ModelError if a file has other weights than its network, or the network cannot be built.

    It cannot be built, for example, without the package that adds its attention. It is not built in memory, unless
    other packages add mechanisms.
    """
    others = [f"{name} {number}" for name, number in trained_with.items() if name not in LIBRARIES]
    advice = f"install {', '.join(others) or 'the package that adds its attention'}, as in the training"
    try:
        with ExitStack() as contexts:
            if not added_names():  # code of other packages may need the values of tensors, even while it is imported
                contexts.enter_context(torch.device("meta"))
                contexts.enter_context(_WithoutRandomWeights())
            expected = {name: tensor.shape for name, tensor in AttentionUNet(plan.architecture).state_dict().items()}
    except ValueError as error:
        raise ModelError(f"{file}: its network cannot be built here ({error}): {advice}") from error
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ModelError(f"{file}: holds other weights than its network has here: {advice}, or copy it again")


@torch.random.fork_rng(devices=[])  # new networks draw weights: the caller's random numbers stay
def load_model(path: str | Path, device: str | torch.device = CPU) -> Model:
    """Read a model.

    Args:
        path: a run folder, a ``.safetensors`` file that a training wrote, or the name of a model of this package.
        device: device to load it to, or its name: "auto", "cpu", "cuda" or "mps".

    Raises:
        ModelError: if it is missing, damaged, or of another format.
        ConfigError: if there is no such device.

    Example:
        >>> load_model("hippocampus").plan.labels.names
        ('Anterior', 'Posterior')
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
        names = [name for name in tensors if name.startswith(LOCATOR)]
        of_locator = {name.removeprefix(LOCATOR): tensors.pop(name) for name in names}
        _check_shapes(plan, tensors, file, description["versions"])
        locator = None
        if "locator" in description:
            _check_shapes(Plan.from_json(description["locator"]["plan"]), of_locator, file, description["versions"])
            locator = Locator.from_json(description["locator"], of_locator, CPU)
        network = AttentionUNet(plan.architecture).float()
        network.load_state_dict(tensors)
        gains = {
            str(name): ComponentGain(int(cases), float(total), float(squares))
            for name, (cases, total, squares) in description.get("component_gains", {}).items()
        }
        overlap = float(description.get("overlap") or Model.overlap)
        trained_on = TrainedOn.from_json(description["trained_on"]) if "trained_on" in description else None
    except DAMAGES as error:
        raise ModelError(f"{file}: not a model that a training wrote, or damaged ({error}): copy it again") from error
    try:
        for each in (network, *([locator.network] if locator else [])):
            place_network(each.eval(), device)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ModelError(f"{file}: the memory of {device} is full: close other programs, or use another") from error
    return Model(network, plan, device, overlap, locator, gains, description["sha256"], trained_on, file)


def find_model(path: str | Path) -> Path:
    """Return the file of a model at a path, or of the shipped one of that name. Raise ModelError if there is none."""
    shipped = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    folds: list[Path] = []
    with suppress(OSError, ValueError):  # a name too long, or with a null character
        for file in (Path(path) / WEIGHTS, Path(path)):
            if file.is_file():
                return file
        folds = sorted(Path(path).glob(f"fold*/{WEIGHTS}"))
    if str(path) in shipped:
        return SHIPPED / f"{path}.safetensors"
    if folds:
        raise ModelError(f"{path}: holds {plural(len(folds), 'model')}: name one of them, such as {folds[0].parent}")
    raise ModelError(
        f"{path}: holds no model: expected a run folder with {WEIGHTS}, such a file, or one of the package's models: "
        f"{', '.join(shipped) or 'none'}"
    )


def digest(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """Return sha256 over a description without its own sha256, and over names, shapes, types and values of tensors."""
    plain = json.loads(json.dumps({name: value for name, value in description.items() if name != "sha256"}))
    total = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())  # of the values as a file returns them
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}\n".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
