"""What the command line understands. Heavy imports have no place here: ``--help`` reads this file."""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, get_loader, set_loader

from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.files.run_folder import CONFIG, read_paths

STRICT_YAML = "strict yaml"
SECTIONS = [field.name for field in dataclasses.fields(Config)]
BUDGETS = ("minutes", "steps", "epochs")
WRONG_TYPE = re.compile(
    r'Parser key "(?P<name>.+?)": '
    r".*?(?:Subtypes: \[(?P<union>.+)\] E|Expected an? (?P<one>.+?)\. ).* value: (?P<value>.*)"
)
WORDS = {  # of types
    "<class 'NoneType'>": "null",
    "<class 'float'>": "a number",
    "<class 'int'>": "a whole number",
    "<class 'list'>": "a list",
    "list[float]": "a list of numbers",
    "list[int]": "a list of whole numbers",
    "typing.Literal[": "",
    "]": "",
    ", ": " or ",
}


def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser, and those of its subcommands by name."""
    set_loader(STRICT_YAML, load_strictly, exceptions=(yaml.YAMLError,))
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
    train.add_argument(
        "--override", action="store_true", help="resume with another budget, learning rate or augmentation"
    )
    train.add_class_arguments(Config)

    look = add("inspect", "Check every file of a dataset, tell what it is like, and plan a training.")
    look.add_argument(
        "path",
        type=str | None,
        nargs="?",
        help="folder of the dataset, or its name below $ATTENTION_UNET_DATA or data (default: that of the config)",
    )
    look.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    look.add_argument("--no-trial", action="store_true", help="do not try a training step")
    look.add_argument("--json", action="store_true", help="print JSON for machines")
    look.add_class_arguments(Config)

    cross = add("cross-validate", "Train on every fold, predict and score what each held out; resumable.")
    cross.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    cross.add_argument("--run", type=str | None, help="folder of the folds (default: runs/NAME-folds)")
    cross.add_argument("--only", type=str | None, help="folds to do now, such as 0,2 (default: all)")
    cross.add_argument("--tta", action="store_true", help="predict with mirrored windows as well")
    cross.add_argument("--tolerance-mm", type=float, default=1.0, help="of the normalised surface Dice")
    cross.add_class_arguments(Config)

    predict = add("predict", "Segment scans with a trained model.")
    predict.add_argument(
        "-i",
        "--input",
        type=str,
        required=True,
        action="append",
        help="a scan (NIfTI, NRRD, MetaImage, folder of a DICOM series), or a folder of them",
    )
    predict.add_argument("-o", "--output", type=str, required=True, help="folder for the label maps")
    predict.add_argument(
        "-m",
        "--model",
        type=str,
        required=True,
        action="append",
        help="folder of a run or of a cross-validation, or the name of a model of this package: hippocampus; "
        "given several times, probabilities are averaged",
    )
    predict.add_argument("--held-out-of", type=str | None, help="only the cases that this run did not train on")
    predict.add_argument("--attention-maps", action="store_true", help="write the attention of each level as well")
    predict.add_argument("--probabilities", action="store_true", help="write the probability of each class as well")
    predict.add_argument(
        "--uncertainty", action="store_true", help="write the entropy as well, and how far several models disagree"
    )
    predict.add_argument(
        "--keep-all-components",
        action="store_true",
        help="keep every connected component, also of classes whose Dice rose in the validation of the training when "
        "they kept only the largest",
    )
    predict.add_argument(
        "--own-format",
        action="store_true",
        help="write the label maps of NRRD and MetaImage files in that format, not in NIfTI",
    )
    predict.add_argument("--channel", type=int | None, help="of files of several volumes the one to take, from 0")
    predict.add_argument("--overlap", type=float, default=0.5, help="share of a window that the next covers again")
    predict.add_argument(
        "--tta", action="store_true", help="average over windows mirrored along the axes that training mirrored"
    )
    predict.add_argument(
        "--memory-gb",
        type=float | None,
        help="most GiB that a scan may take, beside program and models: more is done in strips or refused "
        "(default: most of what is free)",
    )
    predict.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    predict.add_argument(
        "--resume", action="store_true", help="keep predictions that are there, if model, options and scan are the same"
    )
    predict.add_argument(
        "--overwrite",
        action="store_true",
        help="replace predictions that are there; with --resume those that are not the same",
    )

    evaluate = add("evaluate", "Score predictions against references.")
    evaluate.add_argument("-p", "--predictions", type=str, required=True, help="folder of predicted label maps")
    evaluate.add_argument("-r", "--references", type=str, required=True, help="folder of true label maps")
    evaluate.add_argument("-o", "--output", type=str, required=True, help="folder for metrics.csv and summary.json")
    evaluate.add_argument("--held-out-of", type=str | None, help="only the cases that this run did not train on")
    evaluate.add_argument(
        "--predicted-only", action="store_true", help="only the cases that are predicted; else others score as empty"
    )
    evaluate.add_argument("--tolerance-mm", type=float, default=1.0, help="of the normalised surface Dice")
    evaluate.add_argument(
        "--subjects", type=str | None, help="CSV file case,subject: intervals count persons, not their scans"
    )
    evaluate.add_argument(
        "--images", type=str | None, help="folder of the scans: draw the worst, middle and best cases"
    )

    compare = add("compare", "Compare evaluations of the same cases with the first of them, case by case.")
    compare.add_argument(
        "evaluations",
        type=str,
        nargs="+",
        help="folders that evaluate or cross-validate wrote; NAME=FOLDER,FOLDER for several runs of one model",
    )
    compare.add_argument("-o", "--output", type=str, default="comparison", help="folder for the table and the picture")
    compare.add_argument(
        "--metric",
        type=str,
        default="dice",
        help="column of metrics.csv to compare, such as nsd or hd95_mm",
    )

    explain = add("explain", "Check on scans that a run held out whether it uses its attention, beside controls.")
    explain.add_argument("run", type=str, help="folder of a run: what it held out is predicted first")
    explain.add_argument("--second", type=str | None, help="the same training with another seed, to compare maps")
    explain.add_argument("--cases", type=int, default=8, help="to check on, evenly from the worst to the best")
    explain.add_argument("--root", type=str | None, help="folder of its dataset (default: as in its training)")
    explain.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")

    report = add("report", "Write a page to look at: scores, cases slice by slice, training. One file, offline.")
    report.add_argument(
        "source",
        type=str,
        help="folder that evaluate or cross-validate wrote, or of a run: what it held out is then predicted first",
    )
    report.add_argument("-o", "--output", type=str | None, help="HTML file (default: report.html in that folder)")
    report.add_argument("--cases", type=int, default=40, help="cases that can be looked at, the worst ones")
    report.add_argument(
        "--run", type=str, action="append", help="a run to show the training of, beside those that made the predictions"
    )
    report.add_argument("--root", type=str | None, help="of a run: folder of its dataset (default: as in its training)")
    report.add_argument("--device", type=str, default="auto", help="of a run: auto, cpu, cuda or mps")

    where = "folder to put it in (default: $ATTENTION_UNET_DATA, else data)"
    fetch = add("fetch", "Download a public dataset.")
    fetch.add_argument("dataset", type=str, help="hippocampus")
    fetch.add_argument("--root", type=str | None, help=where)

    phantom = add("phantom", "Make a dataset of MR-like phantoms.")
    phantom.add_argument("--root", type=str | None, help=where)
    phantom.add_argument("--training", type=int, default=24, help="cases to train on")
    phantom.add_argument("--test", type=int, default=6, help="cases to test on")
    phantom.add_argument("--seed", type=int, default=0, help="of the cohort")
    attention = add("attention", "List the attention mechanisms and measure what each costs.")
    attention.add_argument("--channels", type=int, default=64, help="channels of the features")
    attention.add_argument(
        "--grid", type=str, default="56,56", help="voxels along each axis of the features: 2 or 3 numbers"
    )
    attention.add_argument(
        "--gate-channels",
        type=int | None,
        help="of the decoder's signal, on half the grid (default: 2 x --channels)",
    )
    attention.add_argument("--init", type=Literal["open", "paper"], default="open", help="start open, or as published")
    attention.add_argument("--only", type=str | None, help="names to measure, such as se,gate (default: all)")
    attention.add_argument("--device", type=str, default="cpu", help="auto, cpu, cuda or mps")
    attention.add_argument("--json", action="store_true", help="print JSON for machines")
    return parser, subparsers


def completed(arguments: list[str]) -> list[str]:
    """Say what a call leaves unsaid: a resumed run has its own configuration, a budget replaces that of the file, the
    configuration of a run knows where its data lie.
    """
    given = [name for name in BUDGETS if any(a.split("=")[0] == f"--training.{name}" for a in arguments)]
    if given:
        arguments = [*arguments, *(f"--training.{name}=null" for name in BUDGETS if name not in given)]
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if words[:1] == ["train"] and "--resume" in words and "--config" not in words and "--run" in words[:-1]:
        config = Path(words[words.index("--run") + 1]) / CONFIG
        arguments = ["train", "--config", str(config), *arguments[1:]]
        words = ["train", "--config", str(config), *words[1:]]
    if "--config" in words[:-1]:
        config = Path(words[words.index("--config") + 1])
        places = [f"--{name}={place}" for name, place in read_paths(config.parent).items()]
        beside = [f"--{name}={file}" for name, file in _files_beside(config) if f"--{name}" not in words]
        arguments = [*arguments[:1], *places, *arguments[1:], *beside]
    return arguments


def _files_beside(config: Path) -> Iterator[tuple[str, Path]]:
    """Yield the fields of a configuration file that name a file relative to it, with the path of that file."""
    try:
        found = load_strictly(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return  # check_files has reported it, or will
    data = found.get("data") if isinstance(found, dict) else None
    for name in ("subjects", "splits"):
        value = data.get(name) if isinstance(data, dict) else None
        if isinstance(value, str):
            yield f"data.{name}", config.parent / value


def check_files(arguments: Sequence[str]) -> None:
    """Check that the configuration files of a call can be read, to tell of mistakes by file and line.

    Raises:
        ConfigError: if one cannot.
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for option, name in itertools.pairwise(words):
        if option != "--config":
            continue
        try:
            found = load_strictly(Path(name).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read ({error.strerror}): expected a YAML file of fields") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: is no text in UTF-8: expected a YAML file of fields") from error
        except RecursionError as error:
            raise ConfigError(f"{name}: is nested too deeply: expected a YAML file of fields") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            problem = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ConfigError(f"{name}{line}: {problem}: correct it") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{name}: holds no fields: expected some, such as training: {{steps: 1000}}")


def load_strictly(text: str) -> Any:
    """YAML as the parser reads it, except that a key given twice is an error and not silently the last, and that there
    are no aliases, a few lines of which can stand for more than any memory holds.
    """

    def check(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [path + str(key.value) for key, _ in node.value]
            for number, (name, (key, value)) in enumerate(zip(names, node.value, strict=True)):
                if name in names[:number]:
                    raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
                if name in SECTIONS and not isinstance(value, yaml.MappingNode):
                    problem = f"{name} is no mapping of its fields, such as {name}:\n  field: value"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=value.start_mark)
                check(value, f"{name}.")

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            problem = f"*{event.anchor} stands for something else: write it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]
    check(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return get_loader("yaml")(text)


def explain(error: Exception, subparsers: dict[str, ArgumentParser]) -> str:
    """The parser's message on one line, without its inner words, with the nearest right name for a wrong one."""
    text = re.sub(r"required: \w+\.", "required: --", " ".join(str(error).split()))
    if found := WRONG_TYPE.fullmatch(text):
        expected = found["union"] or found["one"]
        for type_, words in WORDS.items():
            expected = expected.replace(type_, words)
        name = found["name"] if "." in found["name"] else f"--{found['name'].replace('_', '-')}"
        return f"{name} is {found['value']}: expected {expected}"
    match = re.search(r"option '([\w.]+)'|arguments: --([\w.]+)|[Kk]ey \"?'?([\w.]+)", text)
    wrong = next((group for group in match.groups() if group), "") if match else ""
    known = [action.dest for parser in subparsers.values() for action in parser._actions]
    nearest = difflib.get_close_matches(wrong, known, n=1)
    if wrong and wrong not in known and nearest:
        text += f": did you mean {nearest[0]}?"
    return text
