"""Print the tables of ``attention-unet inspect`` and ``attention-unet attention``."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from attention_unet.attention.cost import Cost
from attention_unet.attention.options import Option
from attention_unet.dataset.case_facts import sizes_of, stack_of
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.inspection import Inspection
from attention_unet.errors import plural, times
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.preparation.plan import AXES, Plan
from attention_unet.preparation.region import SHARE
from attention_unet.preparation.spacing import describe_view
from attention_unet.training.trial import Trial

TRAINING_SHARE = 0.85  # of a budget in minutes; the rest is for validations and for waiting


def print_inspection(dataset: Dataset, inspection: Inspection, console: Console) -> None:
    """Print numbers of cases, sizes, intensities and classes."""
    facts = inspection.facts
    cases = plural(len(facts) + len(inspection.problems), "case")
    console.print(f"{dataset.root}: {cases}, {len(facts)} can be trained on")
    if not facts:
        return
    sizes = Table(title="sizes, on patient axes", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("axis", "voxels, smallest", "median", "largest", "voxel mm, smallest", "median", "largest"):
        sizes.add_column(heading, justify="left" if heading == "axis" else "right")
    extents = [fact.extent for fact in facts]
    grids, spacings_mm = sizes_of(extents, stack_of(extents))
    for axis, name in enumerate(AXES):
        voxels, mm = grids[:, axis], spacings_mm[:, axis]
        sizes.add_row(
            name,
            *(f"{v:.0f}" for v in (voxels.min(), np.median(voxels), voxels.max())),
            *(f"{v:.3g}" for v in (mm.min(), np.median(mm), mm.max())),
        )
    console.print(sizes)
    stored = Counter(fact.orientation for fact in facts)
    console.print("stored as " + ", ".join(f"{code} ({count})" for code, count in stored.most_common()))

    values = Table(title="values, median over cases", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("channel", "minimum", "1 %", "median", "99 %", "maximum"):
        values.add_column(heading, justify="left" if heading == "channel" else "right")
    quantiles = np.median([fact.quantiles for fact in facts], axis=0)
    for name, row in zip(dataset.channels, quantiles, strict=True):
        values.add_row(name, *(f"{value:.4g}" for value in row))
    console.print(values)

    classes = Table(title="classes", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("class", "in cases", "ml, smallest", "median", "largest", "share of voxels"):
        classes.add_column(heading, justify="left" if heading == "class" else "right")
    for name in facts[0].volumes_ml:
        there = [fact.volumes_ml[name] for fact in facts if fact.volumes_ml[name] > 0]
        shares = [fact.shares[name] for fact in facts if fact.volumes_ml[name] > 0]
        figures = [f"{v:.4g}" for v in (min(there), np.median(there), max(there))] if there else ["-"] * 3
        share = f"{100 * float(np.median(shares)):.3g} %" if shares else "-"
        annotating = sum(name not in fact.unannotated for fact in facts)
        classes.add_row(name, f"{len(there)} of {annotating}", *figures, share)
    console.print(classes)
    annotated = [fact.annotated for fact in facts]
    if min(annotated) < 1:
        console.print(
            f"annotated: {100 * np.mean(annotated):.3g} % of the voxels ({100 * min(annotated):.3g} % to "
            f"{100 * max(annotated):.3g} % of a case); the others are ignored"
        )
    for name, count in Counter(name for fact in facts for name in fact.unannotated).items():
        console.print(f"not annotated: {name} in {count} of {len(facts)} cases")


def print_plan(plan: Plan, fingerprint: Fingerprint, console: Console) -> None:
    """Show a plan."""
    architecture = plan.architecture
    table = Table(title="plan", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    over = ", over the voxels that are not 0" if plan.preprocessing.nonzero else ""
    rows = [
        ("voxel", f"{times(plan.preprocessing.spacing_mm)} mm"),
        ("values", f"each channel by its own mean and standard deviation{over}"),
        ("patch", f"{times(plan.patch)} voxels, {times(np.multiply(plan.patch, plan.preprocessing.spacing_mm))} mm"),
        ("it sees", describe_view(fingerprint, plan)),
        ("batch", str(plan.batch)),
        ("channels", ", ".join(map(str, architecture.channels))),
        ("kernels", ", ".join("x".join(map(str, kernel)) for kernel in architecture.kernel_sizes)),
        ("strides", ", ".join("x".join(map(str, stride)) for stride in architecture.steps)),
        ("attention", architecture.describe_attention()),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_trial(trial: Trial, minutes: float | None, locates: bool, console: Console) -> None:
    """Show what a training step took, and how many a budget in minutes has."""
    rate = trial.patches / trial.seconds
    held = "" if trial.bytes is None else f", {decimal(trial.bytes)} beside the weights"
    share = TRAINING_SHARE - (SHARE if locates else 0.0)
    steps = 60 * minutes * share / trial.seconds if minutes else 0.0
    budget = f"; {minutes:g} minutes have about {float(f'{steps:.2g}'):g} steps" if minutes else ""
    console.print(
        f"a step of {trial.patches} patches takes {trial.seconds:.3g} s ({rate:{',.0f' if rate >= 100 else '.3g'}} "
        f"patches a second){held}{budget}"
    )


def print_options(name: str, options: Sequence[Option], console: Console) -> None:
    """Print the options of a mechanism with their defaults and values."""
    if not options:
        console.print(f"{name} has no options\n")
        return
    table = Table("option", "default", "expected", box=box.MARKDOWN)
    for option in options:
        table.add_row(option.name, json.dumps(option.default).strip('"'), option.expected)
    console.print(table)


def print_costs(costs: Sequence[Cost], yardstick: Cost, console: Console) -> None:
    """Print one row per mechanism, the yardstick last, as Markdown. Shares are of its multiply-accumulates."""
    table = Table(box=box.MARKDOWN)
    for column in ("mechanism", "kind", "gated"):
        table.add_column(column, no_wrap=True)
    for column in ("params", "MMAC", "share", "ms", "MiB", "step ms", "step MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in [*costs, yardstick]:
        table.add_row(
            cost.name,
            cost.kind,
            "yes" if cost.needs_gate else "",
            f"{cost.parameters:,}",
            f"{cost.macs / 1e6:,.3f}",
            f"{cost.macs / yardstick.macs:.1%}",
            f"{1e3 * cost.forward_seconds:,.1f}",
            f"{cost.forward_bytes / 2**20:,.1f}",
            f"{1e3 * cost.step_seconds:,.1f}",
            f"{cost.step_bytes / 2**20:,.1f}",
        )
    # A narrow terminal then wraps lines instead of cutting numbers.
    console.width = max(console.width, 105 + max(len(cost.name) for cost in costs))
    console.print(table)
