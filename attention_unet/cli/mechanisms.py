"""Run the subcommand attention: list mechanisms, describe their options, measure what they cost."""

import inspect
import logging
import math
from typing import TYPE_CHECKING

import yaml
from jsonargparse import ArgumentParser, Namespace

from attention_unet.cli.screen import table_console
from attention_unet.errors import ConfigError
from attention_unet.files.strict_yaml import load_strictly
from attention_unet.machine.progress import progress_bar

if TYPE_CHECKING:
    from attention_unet.attention import Spec
    from attention_unet.attention.options import Option

log = logging.getLogger("attention_unet")


def attention(options: Namespace, parser: ArgumentParser) -> int:
    """Measure all mechanisms; or describe the named ones, and measure them with other values of their options."""
    from attention_unet.attention import all_names, build, find_mechanism, options_of
    from attention_unet.attention.cost import measure, measure_convolution
    from attention_unet.cli.tables import print_costs, print_options
    from attention_unet.machine.devices import choose_device
    from attention_unet.machine.memory import out_of_memory

    grid = [int(n) if n.strip().isdecimal() else 0 for n in options.grid.split(",")]
    if len(grid) not in (2, 3) or min(grid) < 1:
        raise ConfigError(f"--grid is {options.grid}: expected 2 or 3 whole numbers, such as 56,56")
    if options.channels < 1:
        raise ConfigError(f"--channels is {options.channels}: expected at least 1")
    device = choose_device(options.device)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {device.type}: memory and time can be measured on cpu and cuda")
    given = [_read(text) for text in options.mechanisms]
    costs, known = [], {}
    try:
        for spec in given:
            build(spec, dims=len(grid), channels=options.channels, init=options.init)
        known = {spec: find_mechanism(spec) for spec in given if isinstance(spec, str)}
        specs = [one for spec in given for one in (spec, *_alternatives(spec, len(grid), options.channels))]
        specs = specs or list(all_names())
        yardstick = measure_convolution(options.channels, grid, device)
        with progress_bar("measuring", len(specs)) as done:
            for spec in specs:
                try:
                    costs.append(measure(spec, options.channels, grid, init=options.init, device=device))
                except ValueError as error:  # of another package
                    if given:
                        raise
                    log.warning("%s is left out: %s", spec, error)
                done()
    except ValueError as error:
        raise ConfigError(f"attention: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise ConfigError(f"attention, for --grid {options.grid}: {error}") from error
        gib = 4 * options.channels * math.prod(grid) / 2**30
        raise ConfigError(f"--grid is {options.grid}: one map of features takes {gib:.3g} GiB ({error})") from error
    console = table_console()
    for name, kind in known.items():
        console.print(f"{name}: {inspect.getdoc(kind)}\n", soft_wrap=True)
        print_options(name, list(options_of(kind).values()), console)
    print_costs(costs, yardstick, console)
    log.info(
        "one sample in float32 on %s; step is forward and backward; the share is of the convolution's MACs", device
    )
    return 0


def _read(text: str) -> "Spec":
    """Read a specification as a configuration does."""
    try:
        spec: Spec = load_strictly(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"attention: {text} is no specification, such as se or '{{se: {{reduction: 4}}}}'") from error
    return spec


def _alternatives(spec: "Spec", dims: int, channels: int) -> "list[Spec]":
    """Return a mechanism that is only named with other values of each option: all words, half and twice of numbers."""
    from attention_unet.attention import build, find_mechanism, options_of
    from attention_unet.attention.specification import with_option

    found: list[Spec] = []
    if isinstance(spec, str):
        for option in options_of(find_mechanism(spec)).values():
            for value in _other_values(option):
                other = with_option(spec, option.name, value)
                try:
                    build(other, dims=dims, channels=channels)
                except ValueError:  # as of an even kernel
                    continue
                found.append(other)
    return found


def _other_values(option: "Option") -> list[int | float | str | bool]:
    if option.choices:
        return [word for word in option.choices if word != option.default]
    if isinstance(option.default, bool):
        return [not option.default]
    if option.kind is int and option.default is not None:
        half, double = int(option.default) // 2, int(option.default) * 2
        return [value for value in (half, double) if value >= 1]
    return []
