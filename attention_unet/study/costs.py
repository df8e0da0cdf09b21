"""What a training step of each arm costs. Arms are measured in turns, so that all share the drifts of the machine."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch

from attention_unet.attention.cost import count_macs
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.machine.progress import progress_bar
from attention_unet.preparation.plan import Plan
from attention_unet.study.design import Study
from attention_unet.study.registration import Registration
from attention_unet.training.learner import build_network
from attention_unet.training.trial import try_step

log = logging.getLogger(__name__)

COSTS = "costs.csv"
TURNS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of an arm."""

    arm: str
    arm_sha256: str  # digest of its configuration
    parameters: int  # number of learned parameters
    macs: int  # multiply-accumulates of a forward pass of a batch
    seconds: float  # time of a training step, the median of its turns
    ratio: float  # that time as a multiple of the first arm's in the same turn, the median of the turns
    least_ratio: float  # the smallest such multiple of a turn
    most_ratio: float  # the largest one


def measure_costs(study: Study, registration: Registration, plans: Mapping[str, Plan]) -> list[Cost]:
    """Return the cost of each arm on this machine."""
    seconds: dict[str, list[float]] = {arm: [] for arm in study.arms}
    with progress_bar("measuring", TURNS * len(study.arms)) as advance:
        for _ in range(TURNS):
            for arm, config in study.arms.items():
                seconds[arm].append(try_step(config, plans[arm]).seconds)
                advance()
    control, *_ = seconds.values()
    costs = []
    for arm, plan in plans.items():
        network = build_network(plan)
        macs = plan.batch * count_macs(network, [torch.zeros(1, len(plan.channels), *plan.window)])
        parameters = sum(parameter.numel() for parameter in network.parameters())
        ratios = [ours / first for ours, first in zip(seconds[arm], control, strict=True)]
        times = (statistics.median(seconds[arm]), statistics.median(ratios), min(ratios), max(ratios))
        costs.append(Cost(arm, registration.digest_of_arm(arm), parameters, macs, *times))
    return costs


def write_costs(costs: Sequence[Cost], folder: Path) -> None:
    """Write the costs into the folder of a study."""
    if (folder / COSTS).exists():
        log.warning("%s: the costs measured before are replaced", folder / COSTS)
    write_text(folder / COSTS, csv_text([[field.name for field in fields(Cost)], *map(astuple, costs)]))


def read_costs(study: Study, registration: Registration, folder: Path) -> dict[str, Cost] | None:
    """Return costs by arm; None if not measured, or an arm changed since. Raise DataError if the file is damaged."""
    file, advice = folder / COSTS, "measure again by --plan, on an idle machine"
    if not file.exists():
        return None
    costs = {cost.arm: cost for cost in parse_table(file, _from_row, "costs", advice)}
    if next(iter(costs), None) != next(iter(study.arms)):
        log.warning("%s: not used, as it was measured for another first arm: %s", file, advice)
        return None
    for arm in study.arms:
        if arm not in costs or costs[arm].arm_sha256 != registration.digest_of_arm(arm):
            log.warning("%s: left out, as the arm %r has changed or is new: %s", file, arm, advice)
            return None
    return costs


def _from_row(row: Mapping[str, str]) -> Cost:
    times = [float(row[name]) for name in ("seconds", "ratio", "least_ratio", "most_ratio")]
    if not all(0 < value < float("inf") for value in times):
        raise ValueError(f"times {times} of {row['arm']}: expected numbers above 0")
    return Cost(row["arm"], row["arm_sha256"], int(row["parameters"]), int(row["macs"]), *times)
