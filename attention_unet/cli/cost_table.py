"""Print the costs of attention mechanisms as a table."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from attention_unet.attention.cost import Cost


def print_costs(costs: Sequence[Cost], yardstick: Cost, console: Console) -> None:
    """Print one row per mechanism, the yardstick last, as Markdown. Shares are of its multiply-accumulates."""
    table = Table(box=box.MARKDOWN)
    table.add_column("mechanism", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("gated", no_wrap=True)
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
    console.width = max(console.width, 120)  # a narrow terminal then wraps lines and cuts no number
    console.print(table)
