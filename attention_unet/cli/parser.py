"""Options of the command line. Heavy imports have no place here: ``--help`` reads this file."""

from functools import cache
from typing import Literal

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, set_loader

from attention_unet import __version__
from attention_unet.cli.strict_yaml import load_strictly
from attention_unet.config import Config

STRICT_YAML = "strict yaml"


def add_flag(parser: ArgumentParser, name: str, text: str) -> None:
    """Add an option without a value."""
    parser.add_argument(name, action="store_true", help=text)


@cache
def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and the parsers of its subcommands by name."""
    set_loader(STRICT_YAML, load_strictly, exceptions=(yaml.YAMLError,))
    parser = ArgumentParser(
        prog="attention-unet",
        description="Attention U-Nets for MR volumes: train, predict, evaluate.",
        exit_on_error=False,
        parser_mode=STRICT_YAML,
        version=__version__,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(dest="command")
    subparsers: dict[str, ArgumentParser] = {}

    def add(name: str, text: str) -> ArgumentParser:
        subparsers[name] = ArgumentParser(
            description=text, exit_on_error=False, parser_mode=STRICT_YAML, allow_abbrev=False
        )
        commands.add_subcommand(name, subparsers[name], help=text)
        return subparsers[name]

    train = add("train", "Train a network on a dataset.")
    train.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields below")
    train.add_argument("--run", type=str | None, help="folder of the run (default: runs/NAME-foldK)")
    add_flag(train, "--resume", "continue the run in that folder")
    add_flag(train, "--override", "resume with another total budget, other learning rate, sampling or augmentation")
    train.add_class_arguments(Config)

    look = add("inspect", "Check every file of a dataset, describe it, and plan a training.")
    look.add_argument(
        "path",
        type=str | None,
        nargs="?",
        help="folder of the dataset, or its name below $ATTENTION_UNET_DATA or data (default: the one in the config)",
    )
    look.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    add_flag(look, "--no-trial", "do not try a training step")
    add_flag(look, "--json", "print JSON for machines")
    look.add_class_arguments(Config)

    cross = add("cross-validate", "Train on every fold, predict and score the held-out cases; resumable.")
    cross.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    cross.add_argument("--run", type=str | None, help="folder of the folds (default: runs/NAME-folds)")
    cross.add_argument("--only", type=str | None, help="folds to train now, such as 0,2 (default: all)")
    jobs = "number of processes at once on this machine, among which processors and GPUs are divided"
    cross.add_argument("--jobs", type=int, default=1, help=f"{jobs}: a fold each")
    add_flag(cross, "--tta", "predict with test-time augmentation by flips")
    cross.add_argument("--tolerance-mm", type=float, default=1.0, help="tolerance of the normalised surface Dice")
    cross.add_class_arguments(Config)

    predict = add("predict", "Segment scans with a trained model.")
    predict.add_argument(
        "-i",
        "--input",
        type=str,
        required=True,
        action="append",
        help="a scan (NIfTI, NRRD, MetaImage, FreeSurfer, folder of a DICOM series), a folder of scans, or a CSV "
        "table with the columns case and image",
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
    add_flag(predict, "--recursive", "also predict the scans in all folders below")
    predict.add_argument(
        "--bids-suffix",
        type=str,
        action="append",
        help="the input is a BIDS dataset: predict scans with this suffix, such as T1w, and write a BIDS derivative; "
        "once for each channel",
    )
    predict.add_argument("--participant", type=str, action="append", help="only this participant of the BIDS dataset")
    add_flag(predict, "--attention-maps", "also write the attention map of each place")
    add_flag(predict, "--probabilities", "also write the probability of each class")
    add_flag(predict, "--uncertainty", "also write the entropy and, with several models, their disagreement")
    add_flag(
        predict,
        "--keep-all-components",
        "keep every connected component (default: those smaller than half the largest are dropped of classes "
        "that gained Dice by it on held-out cases)",
    )
    predict.add_argument(
        "--format",
        type=Literal["nii.gz", "seg.nrrd", "own"],
        default="nii.gz",
        help="of the label maps: seg.nrrd has names and colours for 3D Slicer; own: that of NRRD and MetaImage scans",
    )
    add_flag(predict, "--dicom-seg", "also write a DICOM segmentation of DICOM series")
    predict.add_argument("--codes", type=str | None, help="CSV file of the codes of classes for --dicom-seg")
    predict.add_argument(
        "--missing",
        type=str,
        action="append",
        help="name of a channel that scans lack; for models trained with augmentation.drop_channel",
    )
    predict.add_argument("--channel", type=int | None, help="which volume to take of files with several, from 0")
    predict.add_argument(
        "--overlap",
        type=float,
        help="share of a window that the next one covers again (default: as chosen on held-out cases in training)",
    )
    add_flag(
        predict, "--whole-scan", "predict all of a scan, not only the part where the model's locator finds structures"
    )
    add_flag(predict, "--tta", "test-time augmentation: average over flips along the axes that training flipped")
    predict.add_argument(
        "--memory-gb",
        type=float | None,
        help="GiB that a scan may take, beside program and models; larger scans are predicted in chunks, or refused "
        "(default: most of the free memory, divided by --jobs)",
    )
    predict.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    predict.add_argument(
        "--part",
        type=str,
        default="1/1",
        help="K/N: only part K of N of the scans; other processes predict the others into the same folder",
    )
    predict.add_argument("--jobs", type=int, default=1, help=f"{jobs}: a part each")
    add_flag(predict, "--resume", "keep predictions that are there, if model, options and scan are the same")
    add_flag(predict, "--overwrite", "replace predictions that are there; with --resume those that are not the same")

    evaluate = add("evaluate", "Score predictions against references.")
    evaluate.add_argument(
        "-p", "--predictions", type=str, required=True, help="predicted label maps: folder, or BIDS dataset"
    )
    evaluate.add_argument(
        "-r", "--references", type=str, required=True, help="true label maps: folder, or BIDS dataset"
    )
    evaluate.add_argument("-o", "--output", type=str, required=True, help="folder for metrics.csv and summary.json")
    evaluate.add_argument("--held-out-of", type=str | None, help="only the cases that this run did not train on")
    add_flag(
        evaluate, "--predicted-only", "only cases with a prediction (default: cases without one are scored as empty)"
    )
    add_flag(evaluate, "--components", "also count components, such as lesions: found, missed, false")
    evaluate.add_argument("--tolerance-mm", type=float, default=1.0, help="tolerance of the normalised surface Dice")
    evaluate.add_argument(
        "--subjects", type=str | None, help="CSV file with the columns case and subject, for intervals over subjects"
    )
    evaluate.add_argument(
        "--images", type=str | None, help="folder of the scans: draw the worst, the middle and the best case"
    )

    compare = add("compare", "Compare evaluations of the same cases with the first one, case by case.")
    compare.add_argument(
        "evaluations",
        type=str,
        nargs="+",
        help="folders that evaluate or cross-validate wrote; NAME=FOLDER,FOLDER for several runs of one model",
    )
    compare.add_argument("-o", "--output", type=str, default="comparison", help="folder for the table and the picture")
    compare.add_argument(
        "--metric", type=str, default="dice", help="column of metrics.csv to compare, such as nsd or hd95_mm"
    )

    explain = add("explain", "Check on held-out scans of a run whether it uses its attention, beside controls.")
    explain.add_argument("run", type=str, help="folder of a run; its held-out cases are predicted first")
    explain.add_argument(
        "--second", type=str | None, help="run of the same training with another seed, to compare maps"
    )
    explain.add_argument(
        "--cases", type=int, default=8, help="number of cases to check, equally spaced from the worst to the best"
    )
    explain.add_argument("--root", type=str | None, help="folder of its dataset (default: the one of its training)")
    explain.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")

    study = add("study", "Train several arms with several seeds and folds, and test hypotheses about them; resumable.")
    study.add_argument("file", type=str, help="YAML file of the study")
    study.add_argument(
        "-o", "--output", type=str | None, help="folder of results (default: the file without its ending)"
    )
    study.add_argument("--new", type=str | None, help="write the file, for this dataset, and print its plan")
    add_flag(study, "--plan", "measure the cost of each arm; print hours and expected precision")
    add_flag(study, "--record", "record the study, to commit it before the first training")
    add_flag(study, "--list", "print one command for each training, and train nothing")
    study.add_argument("--only", type=int | None, help="number of the one training to run, from 0, as in --list")
    study.add_argument("--jobs", type=int, default=1, help=f"{jobs}: a training each")
    add_flag(study, "--report", "train nothing; write the verdicts on what is finished")
    study.add_argument("--maps", type=int | None, help="check attention maps of each arm on so many cases, then report")
    study.add_argument("--amend", type=str | None, help="why the study changed after it was recorded; it is reported")

    report = add("report", "Write a page of scores, cases slice by slice, and training curves: one file, offline.")
    report.add_argument(
        "source",
        type=str,
        help="folder that evaluate or cross-validate wrote, or a run; its held-out cases are then predicted first",
    )
    report.add_argument("-o", "--output", type=str | None, help="HTML file (default: report.html in that folder)")
    report.add_argument("--cases", type=int, default=40, help="number of cases to show, the worst ones")
    report.add_argument("--run", type=str, action="append", help="show the training of this run, too")
    report.add_argument("--root", type=str | None, help="folder of a run's dataset (default: the one of its training)")
    report.add_argument("--device", type=str, default="auto", help="device for a run: auto, cpu, cuda or mps")

    export = add("export", "Write the network of a model for other programs.")
    export.add_argument("-m", "--model", type=str, required=True, help="folder of a run, model file, or hippocampus")
    export.add_argument(
        "--to",
        type=Literal["bundle", "onnx", "pt2"],
        required=True,
        help="bundle: a folder for MONAI; onnx; pt2: a program for torch.export.load",
    )
    export.add_argument("-o", "--output", type=str, required=True, help="file to write; of a bundle the folder")
    export.add_argument("--check", type=str | None, help="a scan, or a folder of them, to compare export and model on")

    card = add("card", "Write a model card, with the head that the Hugging Face hub reads.")
    card.add_argument("run", type=str, help="folder of a run")
    card.add_argument("-o", "--output", type=str | None, help="file to write (default: README.md in that folder)")

    where = "folder for it (default: $ATTENTION_UNET_DATA, otherwise data)"
    fetch = add("fetch", "Download a public dataset.")
    fetch.add_argument("dataset", type=str, help="hippocampus, prostate, heart or brain-tumour")
    fetch.add_argument("--root", type=str | None, help=where)

    phantom = add("phantom", "Make a dataset of MR-like phantoms.")
    phantom.add_argument("--root", type=str | None, help=where)
    phantom.add_argument("--training", type=int, default=24, help="number of training cases")
    phantom.add_argument("--test", type=int, default=6, help="number of test cases")
    phantom.add_argument("--seed", type=int, default=0, help="seed of the cohort")
    attention = add("attention", "List the attention mechanisms, explain their options, and measure the cost of each.")
    attention.add_argument(
        "mechanisms", type=str, nargs="*", help="names to explain, or specifications to measure (default: all names)"
    )
    attention.add_argument("--channels", type=int, default=64, help="channels of the features")
    attention.add_argument(
        "--grid", type=str, default="56,56", help="voxels along each axis of the features: 2 or 3 numbers"
    )
    attention.add_argument(
        "--gate-channels",
        type=int | None,
        help="channels of the gating signal, on half the grid (default: 2 x --channels)",
    )
    attention.add_argument("--init", type=Literal["open", "paper"], default="open", help="start open, or as published")
    attention.add_argument("--device", type=str, default="cpu", help="auto, cpu, cuda or mps")
    add_flag(attention, "--json", "print JSON for machines")
    return parser, subparsers
