"""The design of a study: its arms, trainings and hypotheses, all fixed before the first training."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.config import Config
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.digest import sha256_of
from attention_unet.inference.model_file import find_model
from attention_unet.study.hypothesis import Hypothesis
from attention_unet.training.resolved_settings import without_paths

OF_A_FOLD = 1000  # added to a seed for each fold
LARGEST_SEED = 2**31
# Fields that all arms share, so that they train on the same images, and hold out the same persons, for as many steps.
SAME = (
    *(f"data.{name}" for name in ("root", "dataset", "bids_suffixes", "bids_labels", "folds", "fold", "split_seed")),
    *("data.splits", "data.subjects", "data.subject_pattern", "training.seed", "training.steps"),
)


@dataclass(frozen=True)
class Cell:
    """One training of a study."""

    arm: str
    persons: int | None  # number of persons trained on; None for all
    seed: int  # of the study, one of several
    fold: int  # that is held out

    @property
    def training_seed(self) -> int:
        """Seed of the training: another one in each fold, so that folds are independent."""
        return self.seed + OF_A_FOLD * self.fold

    @property
    def group(self) -> str:
        """Name of the folder of all folds of this arm, size and seed."""
        return f"{self.arm}-{size_name(self.persons)}-seed{self.seed}"

    @property
    def name(self) -> str:
        """Name of the file of results."""
        return f"{self.group}-fold{self.fold}"


@dataclass(frozen=True)
class Study:
    """A study."""

    question: str  # in words
    arms: Mapping[str, Config]  # configuration of each arm by its name; they differ in what is studied
    seeds: Mapping[str, Sequence[int]]  # of each arm
    folds: Sequence[int]  # that are held out, one after another
    persons: Sequence[int | None]  # numbers of persons to train on; None for all
    margin: float  # gain of mean Dice below which arms count as equivalent
    hypotheses: Sequence[Hypothesis]  # claims that are tested

    def __post_init__(self) -> None:
        """Raise ConfigError if names, seeds, folds or the margin do not fit together."""
        named = {name for claim in self.hypotheses for name in (claim.arm, claim.against)}
        if unknown := named - set(self.arms):
            raise ConfigError(f"hypotheses: {first_few(unknown)}: expected some of the arms {first_few(self.arms)}")
        if same := [claim.arm for claim in self.hypotheses if claim.arm == claim.against]:
            raise ConfigError(f"hypotheses: {same[0]} is compared with itself: expected two arms")
        wrong = [name for name in self.arms if not name.replace("_", "").replace("-", "").isalnum()]
        if wrong:
            raise ConfigError(f"arms: {first_few(wrong)}: expected names of letters, digits, _ and -")
        for claim in self.hypotheses:
            if not self.common_seeds(claim.arm, claim.against):
                raise ConfigError(f"seeds: {claim.arm} and {claim.against} have none in common: expected at least one")
        if not 0 < self.margin < 1:
            raise ConfigError(f"margin is {self.margin}: expected a difference of Dice, such as 0.005")
        listed = {"folds": self.folds, "persons": list(map(size_name, self.persons))}
        for name, values in (listed | {f"seeds of {arm}": seeds for arm, seeds in self.seeds.items()}).items():
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{name} is {list(values)}: expected at least one value, each once")
        for name, seeds in self.seeds.items():
            if len({seed + OF_A_FOLD * fold for seed in seeds for fold in self.folds}) < len(seeds) * len(self.folds):
                raise ConfigError(
                    f"seeds of {name} is {list(seeds)}: two seeds differ by a multiple of {OF_A_FOLD}: trainings of "
                    "different folds would have the same seed"
                )
        if wrong_seeds := [seed for seeds in self.seeds.values() for seed in seeds if not 0 <= seed < LARGEST_SEED]:
            raise ConfigError(f"seeds: {wrong_seeds[0]}: expected 0 to {LARGEST_SEED - 1}")
        for name, config in self.arms.items():
            if config.training.steps is None:
                raise ConfigError(f"{name}: has a budget in minutes: expected training.steps, the same for all arms")
            if outside := [fold for fold in self.folds if not 0 <= fold < config.data.folds]:
                raise ConfigError(f"folds: {outside[0]}: expected 0 to {config.data.folds - 1}, by data.folds")
        for field in SAME:
            section, name = field.split(".")
            if len({str(getattr(getattr(config, section), name)) for config in self.arms.values()}) > 1:
                raise ConfigError(f"the arms have different {field}: expected the same for all")
        if few := [persons for persons in self.persons if persons is not None and persons < 1]:
            raise ConfigError(f"persons: {few[0]}: expected at least 1, or all")
        names = list(self.arms)
        plain = {name: (without_paths(config), config.training.start_from) for name, config in self.arms.items()}
        for index, name in enumerate(names):
            if same_as := [other for other in names[:index] if plain[other] == plain[name]]:
                raise ConfigError(f"arms: {name} and {same_as[0]} are the same: expected arms that differ")

    def common_seeds(self, arm: str, other: str) -> list[int]:
        """Return the seeds that two arms are trained with: these trainings are compared in pairs."""
        return [seed for seed in self.seeds[arm] if seed in self.seeds[other]]

    @property
    def most_persons(self) -> int | None:
        """The largest number of persons trained on; None for all."""
        known = [persons for persons in self.persons if persons is not None]
        return max(known) if len(known) == len(self.persons) else None

    def cells(self) -> list[Cell]:
        """Return all trainings: fold by fold, so that a part of a study is a study, and in random order within."""
        random = np.random.RandomState(0)
        cells: list[Cell] = []
        for fold in self.folds:
            of_fold = [Cell(arm, n, seed, fold) for arm in self.arms for n in self.persons for seed in self.seeds[arm]]
            cells += [of_fold[i] for i in random.permutation(len(of_fold))]
        return cells

    def to_plain(self) -> dict[str, Any]:
        """Return plain values without folders of this machine. Raise ModelError if a model to start from is missing."""
        first = next(iter(self.arms.values())).data
        starts = {name: config.training.start_from for name, config in self.arms.items()}
        models = {name: sha256_of(find_model(start)) for name, start in starts.items() if start}
        return {
            "question": self.question,
            "control": next(iter(self.arms)),
            "arms": {name: without_paths(config) for name, config in self.arms.items()},
            "seeds": {name: list(seeds) for name, seeds in self.seeds.items()},
            "folds": list(self.folds),
            "persons": list(self.persons),
            "margin": self.margin,
            "hypotheses": [dataclasses.asdict(claim) for claim in self.hypotheses],
            "splits_sha256": _sha256_of(first.splits),
            "subjects_sha256": _sha256_of(first.subjects),
            **({"models_sha256": models} if models else {}),
        }


def size_name(persons: int | None) -> str:
    """Return the number of persons to train on as a word."""
    return "all" if persons is None else str(persons)


def digest_of(plain: object) -> str:
    """Return the sha256 of plain values."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _sha256_of(file: str | None) -> str | None:
    if file and not Path(file).is_file():
        raise ConfigError(f"{file}: is missing: expected the file that data.splits or data.subjects names")
    return sha256_of(Path(file)) if file else None
