"""The documents say what there is, and what they point at is there."""

import ast
import importlib
import inspect
import pkgutil
import re

import pytest
import torch
from PIL import Image

import attention_unet.attention as package
from attention_unet.attention import CONTROLS, MECHANISMS, NAMES, WRAPPERS, Attention, build, find_mechanism, options_of
from attention_unet.attention.cost import count_macs
from attention_unet.config import Config
from attention_unet.training.optimizer import DECAY_OF_ADAM
from tests.conftest import REPOSITORY

PAGES = sorted((REPOSITORY / "docs" / "attention").glob("*.md"))
GALLERY = "\n## ".join(page.read_text(encoding="utf-8") for page in PAGES)
COSTS = (REPOSITORY / "docs" / "attention_costs.md").read_text(encoding="utf-8")
OVERVIEW = (REPOSITORY / "docs" / "attention.md").read_text(encoding="utf-8")
RELIABILITY = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
ERRATA = (REPOSITORY / "docs" / "errata.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", GALLERY, flags=re.MULTILINE | re.DOTALL))


def classes_in_rooms():
    """Every mechanism class that has a file of its own."""
    found = set()
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member, Attention) and member.__module__ == module.name:
                found.add(member)
    return found


def test_every_file_is_in_the_table():
    built = {type(part) for name in NAMES for part in build(name, dims=2, channels=16).modules()}
    inherited = {base for kind in built for base in kind.__mro__}
    missing = {kind.__name__ for kind in classes_in_rooms() - inherited - set(CONTROLS.values())}
    assert not missing, f"{missing}: no line of MECHANISMS builds it"


def test_every_name_has_an_entry_and_every_entry_a_name():
    missing, extra = set(NAMES) - set(ENTRIES), set(ENTRIES) - set(NAMES)
    assert not missing, f"the pages of docs/attention have no entry of {missing}"
    assert not extra, f"the pages of docs/attention have entries of {extra}, which no table names"
    assert set(NAMES) == {*MECHANISMS, *WRAPPERS}


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_all_it_should(name):
    entry = ENTRIES[name]
    assert re.match(r"\n\w[^\n]+", entry), "no intuition"
    assert re.search(r"^    \S", entry, flags=re.MULTILINE), "no equation"
    assert "Sits:" in entry
    assert "Cost:" in entry or "Cost with" in entry
    assert re.search(r"Pitfalls?:", entry)
    for option in options_of(find_mechanism(name)):
        assert f"`{option}`" in entry, f"option {option} is not explained"
    kind = find_mechanism(name).kind if name in MECHANISMS else "wrappers"
    assert f"[`{name}`](attention/{'channel' if kind == 'identity' else kind}.md#{name})" in OVERVIEW
    if name != "identity":  # nothing to see
        assert "- Picture: " in entry
        assert f"]({name}.png)" in entry
        with Image.open(REPOSITORY / "docs" / "attention" / f"{name}.png") as image:
            assert image.width > 300


def test_no_picture_is_left_over():
    assert {path.stem for path in (REPOSITORY / "docs" / "attention").glob("*.png")} == set(NAMES) - {"identity"}


def test_every_test_that_the_page_on_reliability_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", RELIABILITY)
    assert len(named) > 60
    for path, test in named:
        tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
        assert not test or test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, test)


def test_every_row_of_the_errata_names_a_test_that_is_there():
    rows = [
        line for line in ERRATA.splitlines() if line.startswith("| ") and not line.startswith(("| Subject", "| Where"))
    ]
    assert len(rows) > 30
    for row in rows:
        guards = re.findall(r"`([\w./]+\.py)::(\w+)`", row.split("|")[-2])
        assert guards or row.split("|")[-2].strip() == "nothing to guard", row
        for path, test in guards:
            tree = ast.parse((REPOSITORY / "tests" / "attention" / path).resolve().read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "docs").rglob("*.md"))]
)
def test_links_lead_somewhere(document):
    path = REPOSITORY / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{document}: {target}"


@pytest.mark.parametrize(
    ("heading", "channels", "grid", "init"),
    [
        ("--channels 256 --grid 56,56 --init paper", 256, (56, 56), "paper"),
        ("--channels 64 --grid 64,64,64", 64, (64,) * 3, "open"),
    ],
)
def test_the_tables_of_costs_are_those_of_today(heading, channels, grid, init):
    """Parameters and multiplications; times and memory are of the machine that measured them."""
    table = COSTS.split(f"`attention-unet attention {heading}`")[1].split("\n\n| mechanism")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    told = {row[1]: (row[4], row[5]) for row in rows if row[1] in NAMES}
    inputs = (
        torch.empty(1, channels, *grid, device="meta"),
        torch.empty(1, 2 * channels, *(n // 2 for n in grid), device="meta"),
    )
    for name in NAMES:
        attention = (
            build(name, dims=len(grid), channels=channels, gate_channels=2 * channels, init=init).to("meta").eval()
        )
        parameters = sum(p.numel() for p in attention.parameters())
        assert told[name] == (f"{parameters:,}", f"{count_macs(attention, inputs) / 1e6:,.3f}"), name


def test_the_method_states_the_defaults():
    text = " ".join((REPOSITORY / "docs" / "method.md").read_text(encoding="utf-8").split())
    config = Config()
    network, training, augmentation = config.network, config.training, config.augmentation
    low, high = augmentation.scale
    for words in (
        f"up to {network.max_channels}",
        f"weight decay {training.weight_decay:g}, all other weights by AdamW with "
        f"{training.weight_decay * DECAY_OF_ADAM:g}",
        f"learning rate {training.learning_rate:g}, which rises over the first {100 * training.warmup:g} %",
        f"(decay {training.average:g} at most)",
        f"With probability {augmentation.affine:g}: rotation by up to {augmentation.rotation_degrees:g}°",
        f"zoom by {low:g} to {high:g}",
        f"shifts by up to {augmentation.shift:g} voxels",
        f"deformation with a standard deviation of {augmentation.bend:g} voxels",
        f"a bias field ({augmentation.bias_field:g})",
        f"lower resolution ({augmentation.low_resolution:g})",
        *(f"{name} ({getattr(augmentation, name):g})" for name in ("noise", "blur", "brightness", "contrast", "gamma")),
    ):
        assert words in text
