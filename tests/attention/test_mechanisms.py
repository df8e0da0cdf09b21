"""Names, and names that other packages add by an entry point."""

import dataclasses
from importlib.metadata import EntryPoint
from typing import Literal

import pytest
import torch

from attention_unet.attention import NAMES, all_names, build, find_mechanism, mechanisms
from attention_unet.attention.base import Attended, Attention, Place
from attention_unet.cli import main
from attention_unet.errors import ConfigError
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.network import AttentionUNet
from attention_unet.training.learner import build_network
from tests.inference.build import plan_of


class Brightness(Attention):
    """Weight each voxel by its brightness.

    Args:
        steepness: how fast the weight grows.
    """

    kind: str = "spatial"

    def __init__(self, place: Place, *, steepness: float = 1.0) -> None:
        super().__init__()
        self.steepness = steepness

    def forward(self, x, gate=None, with_map=False):
        weights = torch.sigmoid(self.steepness * x.mean(dim=1, keepdim=True))
        return Attended(x * weights, weights)


class OfNoKind(Brightness):
    kind = "context"


class WithoutDefault(Brightness):
    def __init__(self, place: Place, *, steepness: float) -> None:
        super().__init__(place, steepness=steepness)


class Unresolved(Brightness):
    def __init__(self, place: "Absent", *, steepness: float = 1.0) -> None:  # noqa: F821  # as if for type checkers only
        super().__init__(place, steepness=steepness)


class WithoutOptions(Attention):
    kind = "spatial"
    multiplies = False

    def forward(self, x, gate=None, with_map=False):
        return Attended(-x, None)


class Faulty(Brightness):
    def forward(self, x, gate=None, with_map=False):
        return x, x


@pytest.fixture
def added(monkeypatch):
    """Add names as an installed package does."""

    def add(**values):
        points = [EntryPoint(name, value, mechanisms.GROUP) for name, value in values.items()]
        monkeypatch.setattr(mechanisms, "entry_points", lambda group: points if group == mechanisms.GROUP else [])
        mechanisms.added_names.cache_clear()

    yield add
    monkeypatch.undo()
    mechanisms.added_names.cache_clear()


def test_another_package_adds_a_name_with_options(added, capsys):
    added(brightness=f"{__name__}:Brightness")
    assert all_names() == [*NAMES, "brightness"]
    assert find_mechanism("brightness") is Brightness
    assert build([{"brightness": {"steepness": 2}}, "se"], dims=2, channels=4).parts[0].steepness == 2
    assert main(["attention", "brightness", "--channels", "4", "--grid", "8,8"]) == 0
    printed = capsys.readouterr().out
    assert "Weight each voxel by its brightness." in printed
    assert "| steepness | 1.0" in printed


def test_a_mechanism_without_options_needs_no_constructor(added):
    added(negative=f"{__name__}:WithoutOptions")
    x = torch.ones(1, 4, 2, 2)
    assert torch.equal(build("negative", dims=2, channels=4)(x).features, -x)


def test_names_of_this_package_stay_its_own(added):
    added(se=f"{__name__}:Brightness")
    assert all_names() == NAMES
    assert find_mechanism("se") is not Brightness


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "no_such_package:Brightness",
            r"brightness \(no_such_package:Brightness\) cannot be imported: No module named",
        ),
        ("tests.attention.build:image", "expected a class that inherits from Attention"),
        (f"{__name__}:WithoutDefault", r"brightness \(.*:WithoutDefault\): WithoutDefault: option steepness is "),
        (f"{__name__}:Unresolved", r"brightness \(.*:Unresolved\): name 'Absent' is not defined"),
        (f"{__name__}:OfNoKind", "its kind is 'context': expected channel, spatial, mixed, pairwise, geometric"),
        ("attention_unet.attention.base:Identity", "its kind is 'identity': expected channel, spatial, mixed"),
        (
            f"{__name__}:Words",
            r"option steps is typing.Literal\[1, 2\]: expected bool, int, float or a",
        ),
    ],
)
def test_a_name_that_leads_nowhere(added, value, message):
    added(brightness=value)
    with pytest.raises(ValueError, match=message):
        build("brightness", dims=2, channels=4)


def test_an_unknown_name_lists_the_added_ones(added):
    added(brightness=f"{__name__}:Brightness")
    with pytest.raises(ValueError, match=r"no attention mechanism is called 'brightnes' \(did you mean brightness\?\)"):
        build("brightnes", dims=2, channels=4)


def test_what_a_mechanism_returns_is_checked(added, capsys):
    added(faulty=f"{__name__}:Faulty")
    assert main(["attention", "faulty", "--channels", "4", "--grid", "8,8"]) != 0
    assert "Faulty.forward returned a tuple: expected Attended" in capsys.readouterr().err


def test_a_package_that_is_broken_does_not_take_away_the_list(added, capsys, monkeypatch):
    monkeypatch.setattr("attention_unet.attention.all_names", lambda: ["faulty", "brightness"])
    added(faulty="no_such_package:Faulty", brightness=f"{__name__}:Brightness")
    assert main(["attention", "--channels", "4", "--grid", "8,8"]) == 0
    shown = capsys.readouterr()
    assert "brightness" in shown.out
    assert "faulty is left out: faulty (no_such_package:Faulty) cannot be imported" in shown.err


class Rates(Brightness):
    def __init__(self, place: Place, *, steepness: float = 1.0) -> None:
        super().__init__(place, steepness=steepness)
        self.rates = torch.linspace(0, 1, 3).tolist()


class Masked(Brightness):
    def __init__(self, place: Place, *, steepness: float = 1.0) -> None:
        super().__init__(place, steepness=steepness)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))


class Inner(Brightness):
    """Wrong on small grids only: not in the check of the command, but in the network."""

    def forward(self, x, gate=None, with_map=False):
        return Attended(x[:, :1], None) if x.shape[-1] == 4 else super().forward(x)


class Divisible(Brightness):
    def forward(self, x, gate=None, with_map=False):
        return super().forward(x.unflatten(2, (-1, 3)).flatten(2, 3))


class Forgetful(Brightness):
    """Draws a number that is not saved."""

    def __init__(self, place: Place, *, steepness: float = 1.0) -> None:
        super().__init__(place, steepness=steepness + torch.rand(1).item())


class Words(Brightness):
    def __init__(self, place: Place, *, steps: Literal[1, 2] = 1) -> None:
        super().__init__(place)


def plan_with(spec):
    plan = plan_of()
    return dataclasses.replace(plan, architecture=dataclasses.replace(plan.architecture, skips=spec))


def test_a_model_with_a_mechanism_that_needs_values_is_loaded(added, tmp_path):
    added(rates=f"{__name__}:Rates")
    plan = plan_with("rates")
    save_model(tmp_path, AttentionUNet(plan.architecture).state_dict(), plan, {})
    assert load_model(tmp_path, torch.device("cpu")).plan == plan


@pytest.mark.parametrize("spec", ["{name}", {"residual": "{name}"}])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "Inner",
            r"skip 1, Inner, for an input of \(1, 6, 4, 4, 4\): Inner.forward returned features \(1, 1, 4, 4",
        ),
        ("Divisible", r"skip 1, Divisible, for an input of \(1, 6, 4, 4, 4\): .*don't multiply up to the size"),
        (
            "Forgetful",
            r"skip 1, Forgetful, .* after saving and loading it returns other features: .* buffer",
        ),
    ],
)
def test_attention_of_others_is_checked_at_its_places_before_training(added, kind, message, spec):
    added(other=f"{__name__}:{kind}")
    spec = "other" if isinstance(spec, str) else {"residual": "other"}
    with pytest.raises(ConfigError, match=message):
        build_network(plan_with(spec))


def test_a_check_changes_nothing(added):
    added(brightness=f"{__name__}:Brightness")
    torch.manual_seed(3)
    network = build_network(plan_with({"residual": "brightness"}))
    state = torch.get_rng_state()
    torch.manual_seed(3)
    AttentionUNet(plan_with({"residual": "brightness"}).architecture)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training


def test_a_buffer_that_is_not_finite_is_refused_before_training(added):
    added(masked=f"{__name__}:Masked")
    with pytest.raises(ConfigError, match="mask: a mechanism has values that are not finite in a buffer"):
        build_network(plan_with("masked"))
