"""Update a shipped model: hashes of training cases, gains of dropping small components, checksums in its card.

The weights do not change. The model must have been trained on all cases of the dataset.
"""

import argparse
import hashlib
import json
import re
import tempfile
from pathlib import Path

from safetensors import safe_open

from attention_unet.config import DataConfig
from attention_unet.dataset.case_facts import image_digest
from attention_unet.dataset.cases import locate_dataset
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.reading import read_channels
from attention_unet.files.run_folder import WEIGHTS
from attention_unet.inference.components import pool_gains
from attention_unet.inference.model_file import CPU, SHIPPED, load_model, save_model
from attention_unet.inference.trained_on import TrainedOn


def describe(name: str, dataset: Path, folds: list[Path]) -> str:
    """Write the description of a model; return the sha256 of weights and description.

    Args:
        name: model name.
        dataset: folder of the training cases.
        folds: runs of a cross-validation with the same settings.
    """
    file = SHIPPED / f"{name}.safetensors"
    model, cases = load_model(file, CPU), find_dataset(DataConfig(root=str(dataset))).cases
    with safe_open(file, framework="pt") as content:
        written = json.loads(content.metadata()["description"])
    gains = pool_gains(load_model(run, CPU).component_gains for run in folds)
    notes = {
        **{name: written[name] for name in ("trained", "overlap", "started_from") if name in written},
        "component_gains": {label: (gain.cases, gain.total, gain.squares) for label, gain in gains.items()},
        "trained_on": TrainedOn.of({case.id: image_digest(read_channels(case)) for case in cases}).to_json(),
    }
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), model.network.state_dict(), model.plan, notes, model.locator)
        file.write_bytes((Path(folder) / WEIGHTS).read_bytes())
    return load_model(file, CPU).sha256


def main() -> None:
    """Update the model, and the checksums in its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="model name")
    parser.add_argument("--dataset", required=True, help="folder of training cases under $ATTENTION_UNET_DATA")
    parser.add_argument("--folds", nargs="+", type=Path, required=True, help="runs of a cross-validation")
    options = parser.parse_args()
    described = describe(options.name, locate_dataset(None, options.dataset), options.folds)
    card = SHIPPED / f"{options.name}.md"
    whole = hashlib.sha256((SHIPPED / f"{options.name}.safetensors").read_bytes()).hexdigest()
    text = re.sub(r"of the file: `\w+`", f"of the file: `{whole}`", card.read_text(encoding="utf-8"))
    text = re.sub(r"as `run.json` names it: `\w+`", f"as `run.json` names it: `{described}`", text)
    card.write_text(text, encoding="utf-8")
    print(f"{whole}  {options.name}.safetensors\n{described}  weights and description")


if __name__ == "__main__":
    main()
