"""What a training step of each arm costs. Arms are measured in turns, so that all share the drifts of the machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch

from attention_unet.attention.cost import count_macs
from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.preparation.plan import Plan, fill_from_plan
from attention_unet.study.design import Study
from attention_unet.training.learner import build_network
from attention_unet.training.trial import try_step

COSTS = "costs.csv"
TURNS = 3


@dataclass(frozen=True)
class Cost:
    """Cost of an arm.

    Attributes:
        arm: name of the arm.
        parameters: number of learned parameters.
        macs: multiply-accumulates of a forward pass of a batch.
        seconds: time of a training step, the median of its turns.
    """

    arm: str
    parameters: int
    macs: int
    seconds: float


def measure_costs(study: Study, plans: Mapping[str, Plan]) -> list[Cost]:
    """Return the cost of each arm on this machine."""
    seconds: dict[str, list[float]] = {arm: [] for arm in study.arms}
    for _ in range(TURNS):
        for arm, config in study.arms.items():
            seconds[arm].append(try_step(fill_from_plan(config, plans[arm]), plans[arm]).seconds)
    costs = []
    for arm, plan in plans.items():
        network = build_network(plan)
        grid = [edge for axis, edge in enumerate(plan.patch) if axis != plan.slice_axis]
        macs = plan.batch * count_macs(network, [torch.zeros(1, len(plan.channels), *grid)])
        parameters = sum(parameter.numel() for parameter in network.parameters())
        costs.append(Cost(arm, parameters, macs, statistics.median(seconds[arm])))
    return costs


def write_costs(costs: Sequence[Cost], folder: Path) -> None:
    """Write the costs into the folder of a study."""
    write_text(folder / COSTS, csv_text([[field.name for field in fields(Cost)], *map(astuple, costs)]))


def read_costs(study: Study, folder: Path) -> dict[str, Cost] | None:
    """Return the cost of each arm; None if they were not measured.

    Raises:
        DataError: if the file is damaged, or lacks an arm.
    """
    file, advice = folder / COSTS, "measure again by --plan, on an idle machine"
    if not file.exists():
        return None
    costs = parse_table(
        file,
        lambda row: Cost(row["arm"], int(row["parameters"]), int(row["macs"]), float(row["seconds"])),
        "costs",
        advice,
    )
    by_arm = {cost.arm: cost for cost in costs}
    if missing := [arm for arm in study.arms if arm not in by_arm]:
        raise DataError(f"{file}: has no cost of {missing[0]}: {advice}")
    return by_arm
