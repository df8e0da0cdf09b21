"""The command line: thin subcommands over the functions of the package. Heavy imports happen inside them."""

import difflib
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, get_loader, set_loader
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attention_unet.config import Config
from attention_unet.errors import ConfigError, UserError

log = logging.getLogger("attention_unet")

STRICT_YAML = "strict yaml"
BUDGETS = ("minutes", "steps", "epochs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit code: 0 all well, 1 something failed, 2 the call or config is wrong."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_ConsoleHandler(console)], force=True)
    warnings.showwarning = lambda message, *_: log.warning("warning: %s", message)
    parser, subparsers = build_parser()
    try:
        try:
            chosen = parser.parse_args(_completed(list(sys.argv[1:] if arguments is None else arguments)))
        except Exception as error:  # jsonargparse raises several kinds, all about the call
            raise ConfigError(_explain(error, subparsers)) from error
        run = {"train": _train, "predict": _predict, "evaluate": _evaluate, "fetch": _fetch, "phantom": _phantom}
        return run[chosen.command](chosen[chosen.command], subparsers[chosen.command], console)
    except UserError as error:
        stopped = error.exit_code > 128  # by the user, who made no mistake
        line, style = (f"{error}", "") if stopped else (f"error: {error}", "red")
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser, and those of its subcommands by name."""
    set_loader(STRICT_YAML, _load_strictly, exceptions=(yaml.YAMLError,))
    parser = ArgumentParser(
        prog="attention-unet",
        description="Attention U-Nets for MR volumes: train, predict, evaluate.",
        exit_on_error=False,
        parser_mode=STRICT_YAML,
    )
    commands = parser.add_subcommands(dest="command")
    subparsers: dict[str, ArgumentParser] = {}

    def add(name: str, text: str) -> ArgumentParser:
        subparsers[name] = ArgumentParser(description=text, exit_on_error=False, parser_mode=STRICT_YAML)
        commands.add_subcommand(name, subparsers[name], help=text)
        return subparsers[name]

    train = add("train", "Train a network on a dataset.")
    train.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields below")
    train.add_argument("--run", type=str | None, help="folder of the run (default: runs/NAME-foldK)")
    train.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    train.add_class_arguments(Config)

    predict = add("predict", "Segment scans with a trained model.")
    predict.add_argument("-i", "--input", type=str, required=True, help="a NIfTI file, or a folder of them")
    predict.add_argument("-o", "--output", type=str, required=True, help="folder for the label maps")
    predict.add_argument("-m", "--model", type=str, required=True, help="folder of a run")
    predict.add_argument("--held-out-of", type=str | None, help="only the cases that this run did not train on")
    predict.add_argument("--attention-maps", action="store_true", help="write the attention of each level as well")
    predict.add_argument("--overlap", type=float, default=0.5, help="share of a window that the next covers again")
    predict.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    predict.add_argument("--resume", action="store_true", help="skip cases that are predicted already")
    predict.add_argument("--overwrite", action="store_true", help="predict again what is predicted already")

    evaluate = add("evaluate", "Score predictions against references.")
    evaluate.add_argument("-p", "--predictions", type=str, required=True, help="folder of predicted label maps")
    evaluate.add_argument("-r", "--references", type=str, required=True, help="folder of true label maps")
    evaluate.add_argument("-o", "--output", type=str, required=True, help="folder for metrics.csv and summary.json")
    evaluate.add_argument("--held-out-of", type=str | None, help="only the cases that this run did not train on")
    evaluate.add_argument("--tolerance-mm", type=float, default=1.0, help="of the normalised surface Dice")
    evaluate.add_argument(
        "--images", type=str | None, help="folder of the scans: draw the worst, middle and best cases"
    )

    where = "folder to put it in (default: $ATTENTION_UNET_DATA, else data)"
    fetch = add("fetch", "Download a public dataset.")
    fetch.add_argument("dataset", type=str, help="hippocampus")
    fetch.add_argument("--root", type=str | None, help=where)

    phantom = add("phantom", "Make a dataset of MR-like phantoms.")
    phantom.add_argument("--root", type=str | None, help=where)
    phantom.add_argument("--training", type=int, default=24, help="cases to train on")
    phantom.add_argument("--test", type=int, default=6, help="cases to test on")
    phantom.add_argument("--seed", type=int, default=0, help="of the cohort")
    return parser, subparsers


def _train(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    from attention_unet.training.train import train

    fields = parser.instantiate(options)
    config = Config(fields.data, fields.augmentation, fields.network, fields.attention, fields.training)
    name = Path(str(options.config[-1])).stem if options.config else config.data.dataset or "run"
    run = Path(options.run or f"runs/{name}-fold{config.data.fold}")
    train(config, run, options.resume, console)
    return 0


def _predict(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    from attention_unet.devices import choose_device, precision_of
    from attention_unet.inference.model import load_model
    from attention_unet.inference.predict_files import claim_output, find_inputs, predict_files

    if not 0 <= options.overlap < 1:
        raise ConfigError(f"--overlap is {options.overlap}: expected 0 to below 1")
    source, output = Path(options.input), Path(options.output)
    model = load_model(Path(options.model), choose_device(options.device))
    cases = find_inputs(source, len(model.plan.channels))
    if options.held_out_of:
        chosen = _held_out(options.held_out_of, [case.id for case in cases])
        cases = [case for case in cases if case.id in chosen]
    left = claim_output(output, source, cases, model, resume=options.resume, overwrite=options.overwrite)
    with _counting(console, "predicting", len(left)) as done:
        failed = predict_files(
            left,
            output,
            model,
            precision=precision_of("auto", model.device),
            overlap=options.overlap,
            attention=options.attention_maps,
            done=done,
        )
    log.info("%d predicted, %d failed; they lie in %s", len(left) - len(failed), len(failed), output)
    return _report_failures(failed)


def _evaluate(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    from attention_unet.data.volumes import volumes_by_case
    from attention_unet.evaluation.evaluate import evaluate_folder, find_labels
    from attention_unet.evaluation.showcase import draw_showcase
    from attention_unet.evaluation.summary import print_table

    predictions, references, output = Path(options.predictions), Path(options.references), Path(options.output)
    for folder in (predictions, references):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder: expected one of label maps")
    if options.tolerance_mm < 0:
        raise ConfigError(f"--tolerance-mm is {options.tolerance_mm}: expected 0 or more")
    cases = list(volumes_by_case(references))
    if not cases:
        raise ConfigError(f"{references}: holds no NIfTI file: expected the true label maps")
    if options.held_out_of:
        cases = _held_out(options.held_out_of, cases)
    labels = find_labels(predictions, references, cases)
    with _counting(console, "evaluating", len(cases)) as done:
        summary, failed = evaluate_folder(
            predictions, references, output, labels=labels, cases=cases, tolerance_mm=options.tolerance_mm, done=done
        )
    print_table(summary, _table_console())
    log.info("metrics.csv and summary.json lie in %s", output)
    code = _report_failures(failed)
    if options.images:
        log.info("a picture lies in %s", draw_showcase(predictions, references, Path(options.images), output, labels))
    return code


def _fetch(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    from attention_unet.data.cases import data_root
    from attention_unet.data.fetch import DATASETS, fetch

    if options.dataset not in DATASETS:
        raise ConfigError(f"no public dataset is called {options.dataset!r}: there is {', '.join(DATASETS)}")
    dataset = DATASETS[options.dataset]
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(options.dataset, total=None)
        folder = fetch(
            dataset, data_root(options.root), lambda have, total: bar.update(task, completed=have, total=total)
        )
    log.info("%s is there; licence: %s", folder, dataset.licence)
    return 0


def _phantom(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    from attention_unet.data.cases import data_root
    from attention_unet.data.phantom import make_cohort

    with _counting(console, "making phantoms", options.training + options.test) as done:
        folder = make_cohort(data_root(options.root), options.training, options.test, options.seed, done)
    log.info("%d cases to train on and %d to test on lie in %s", options.training, options.test, folder)
    return 0


def _completed(arguments: list[str]) -> list[str]:
    """Say what a call leaves unsaid: a resumed run has its own configuration, a budget replaces that of the file."""
    given = [name for name in BUDGETS if any(a.split("=")[0] == f"--training.{name}" for a in arguments)]
    if given:
        arguments = [*arguments, *(f"--training.{name}=null" for name in BUDGETS if name not in given)]
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if words[:1] == ["train"] and "--resume" in words and "--config" not in words and "--run" in words[:-1]:
        config = Path(words[words.index("--run") + 1]) / "config.yaml"
        arguments = ["train", "--config", str(config), *arguments[1:]]
    return arguments


def _held_out(run: str, cases: Sequence[str]) -> list[str]:
    """Those of the cases that a run held out, all of which must be there."""
    from attention_unet.data.splits import read_split

    held_out = read_split(Path(run) / "splits.json").validation
    missing = [case for case in held_out if case not in cases]
    if missing or not held_out:
        raise ConfigError(f"{run}: held out {len(held_out)} cases, not found: {missing[:5]}: expected all of them here")
    return list(held_out)


def _report_failures(failed: dict[str, str]) -> int:
    for case, reason in failed.items():
        log.error("failed: %s: %s", case, reason)
    return 1 if failed else 0


@contextmanager
def _counting(console: Console, text: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar over cases; gives what to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


class _ConsoleHandler(logging.Handler):
    """Prints log lines above a progress bar, not through it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def _table_console() -> Console:
    """The standard output; wide enough for a table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=100)


def _load_strictly(text: str) -> Any:
    """YAML as the parser reads it, except that a key given twice is an error and not silently the last."""

    def check(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [path + str(key.value) for key, _ in node.value]
            for name, (key, value) in zip(names, node.value, strict=True):
                if names.count(name) > 1:
                    raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
                check(value, f"{name}.")

    check(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return get_loader("yaml")(text)


def _explain(error: Exception, subparsers: dict[str, ArgumentParser]) -> str:
    """The parser's message on one line, with the nearest right name for a wrong one."""
    text = " ".join(str(error).split())
    match = re.search(r"option '([\w.]+)'|arguments: --([\w.]+)|[Kk]ey \"?'?([\w.]+)", text)
    wrong = next((group for group in match.groups() if group), "") if match else ""
    known = [action.dest for parser in subparsers.values() for action in parser._actions]
    nearest = difflib.get_close_matches(wrong, known, n=1)
    if wrong and wrong not in known and nearest:
        text += f": did you mean {nearest[0]}?"
    return text
