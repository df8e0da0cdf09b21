"""Options of each command; the docstring of its function is the help text.

Heavy imports have no place here: ``--help`` reads this file.
"""

from typing import Literal

from jsonargparse import ActionConfigFile, ArgumentParser

from attention_unet.config import Config

JOBS = "number of processes at once on this machine, among which processors and GPUs are divided"
ROOT = "folder for it (default: $ATTENTION_UNET_DATA, otherwise data)"


def add_flag(parser: ArgumentParser, name: str, text: str) -> None:
    """Add an option without a value."""
    parser.add_argument(name, action="store_true", help=text)


def train(parser: ArgumentParser) -> None:
    """Train a network on a dataset."""
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields below")
    parser.add_argument("--run", type=str, help="folder of the run (default: runs/NAME-foldK)")
    add_flag(parser, "--resume", "continue the run in that folder")
    add_flag(parser, "--override", "resume with another total budget, other learning rate, sampling or augmentation")
    parser.add_class_arguments(Config)


def inspect(parser: ArgumentParser) -> None:
    """Check every file of a dataset, describe it, and plan a training."""
    parser.add_argument(
        "path",
        type=str,
        nargs="?",
        help="folder of the dataset, or its name below $ATTENTION_UNET_DATA or data (default: the one in the config)",
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    add_flag(parser, "--no-trial", "do not try a training step")
    add_flag(parser, "--json", "print JSON for machines")
    parser.add_class_arguments(Config)


def cross_validate(parser: ArgumentParser) -> None:
    """Train on every fold, predict and score the held-out cases; resumable."""
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of the fields of train")
    parser.add_argument("--run", type=str, help="folder of the folds (default: runs/NAME-folds)")
    parser.add_argument("--only", type=str, help="folds to train now, such as 0,2 (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help=f"{JOBS}: a fold each")
    add_flag(parser, "--tta", "predict with test-time augmentation by flips")
    parser.add_argument("--tolerance-mm", type=float, default=1.0, help="tolerance of the normalised surface Dice")
    parser.add_class_arguments(Config)


def predict(parser: ArgumentParser) -> None:
    """Segment scans with a trained model."""
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        action="append",
        help="a scan (NIfTI, NRRD, MetaImage, FreeSurfer, folder of a DICOM series), a folder of scans, or a CSV "
        "table with the columns case and image, or one column for each channel",
    )
    parser.add_argument("-o", "--output", required=True, help="folder for the label maps")
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        action="append",
        help="folder of a run or of a cross-validation, model file, or hippocampus, a model of this package; "
        "given several times, probabilities are averaged",
    )
    parser.add_argument("--held-out-of", help="only the cases that this run did not train on")
    add_flag(parser, "--recursive", "also predict the scans in all folders below")
    parser.add_argument(
        "--bids-suffix",
        action="append",
        help="the input is a BIDS dataset: predict scans with this suffix, such as T1w, and write a BIDS derivative; "
        "once for each channel",
    )
    parser.add_argument("--participant", action="append", help="only this participant of the BIDS dataset")
    add_flag(parser, "--attention-maps", "also write the attention map of each place")
    add_flag(parser, "--probabilities", "also write the probability of each class")
    add_flag(parser, "--uncertainty", "also write the entropy and, with several models, their disagreement")
    add_flag(
        parser,
        "--keep-all-components",
        "keep every connected component (default: those smaller than half the largest are dropped of classes "
        "that gained Dice by it on held-out cases)",
    )
    parser.add_argument(
        "--format",
        type=Literal["nii.gz", "seg.nrrd", "own"],
        default="nii.gz",
        help="of the label maps: seg.nrrd has names and colours for 3D Slicer; own: that of NRRD and MetaImage scans",
    )
    add_flag(parser, "--dicom-seg", "also write a DICOM segmentation of DICOM series")
    parser.add_argument("--codes", help="CSV file of the codes of classes for --dicom-seg")
    parser.add_argument(
        "--missing", action="append", help="channel that scans lack; for models trained with augmentation.drop_channel"
    )
    parser.add_argument("--channel", type=int | None, help="which volume to take of files with several, from 0")
    parser.add_argument(
        "--overlap",
        type=float,
        help="share of a window that the next one covers again (default: as chosen on held-out cases in training)",
    )
    add_flag(parser, "--whole-scan", "predict the whole scan, not only the part in which the locator finds structures")
    add_flag(parser, "--tta", "test-time augmentation: average over flips along the axes that training flipped")
    parser.add_argument(
        "--memory-gb",
        type=float | None,
        help="GiB that a scan may take, beside program and models; larger scans are predicted in chunks, or refused "
        "(default: most of the free memory, divided by --jobs)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--part",
        default="1/1",
        help="K/N: only part K of N of the scans; other processes predict the others into the same folder",
    )
    parser.add_argument("--jobs", type=int, default=1, help=f"{JOBS}: a part each")
    add_flag(parser, "--resume", "keep predictions that are there, if model, options and scan are the same")
    add_flag(parser, "--overwrite", "replace predictions that are there; with --resume those that are not the same")


def evaluate(parser: ArgumentParser) -> None:
    """Score predictions against references."""
    parser.add_argument("-p", "--predictions", required=True, help="predicted label maps: folder, or BIDS dataset")
    parser.add_argument("-r", "--references", required=True, help="true label maps: folder, or BIDS dataset")
    parser.add_argument("-o", "--output", required=True, help="folder for metrics.csv and summary.json")
    parser.add_argument("--held-out-of", help="only the cases that this run did not train on")
    add_flag(parser, "--predicted-only", "only cases with a prediction (default: the others are scored as empty)")
    add_flag(parser, "--components", "also count components, such as lesions: found, missed, false")
    parser.add_argument("--tolerance-mm", type=float, default=1.0, help="tolerance of the normalised surface Dice")
    parser.add_argument("--subjects", help="CSV file with the columns case and subject, for intervals over subjects")
    parser.add_argument("--images", help="folder of the scans: draw the worst, the middle and the best case")


def compare(parser: ArgumentParser) -> None:
    """Compare evaluations of the same cases with the first one, case by case."""
    parser.add_argument(
        "evaluations",
        nargs="+",
        help="folders that evaluate or cross-validate wrote; NAME=FOLDER,FOLDER for several runs of one model",
    )
    parser.add_argument("-o", "--output", default="comparison", help="folder for the table and the picture")
    parser.add_argument("--metric", default="dice", help="column of metrics.csv to compare, such as nsd or hd95_mm")


def explain(parser: ArgumentParser) -> None:
    """Check on held-out scans of a run whether it uses its attention, beside controls."""
    parser.add_argument("run", help="folder of a run; its held-out cases are predicted first")
    parser.add_argument("--second", help="run of the same training with another seed, to compare maps")
    parser.add_argument("--cases", type=int, default=8, help="cases to check, evenly spaced from the worst to the best")
    parser.add_argument("--root", help="folder of its dataset (default: the one of its training)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def study(parser: ArgumentParser) -> None:
    """Train several arms with several seeds and folds, and test hypotheses about them; resumable."""
    parser.add_argument("file", help="YAML file of the study")
    parser.add_argument("-o", "--output", help="folder of results (default: the file without its ending)")
    parser.add_argument("--new", help="write the file, for this dataset, and print its plan")
    add_flag(parser, "--plan", "measure the cost of each arm; print hours and expected precision")
    add_flag(parser, "--record", "record the study, to commit it before the first training")
    add_flag(parser, "--list", "print one command for each training, and train nothing")
    parser.add_argument("--only", type=int | None, help="number of the one training to run, from 0, as in --list")
    parser.add_argument("--jobs", type=int, default=1, help=f"{JOBS}: a training each")
    add_flag(parser, "--report", "train nothing; write the verdicts on what is finished")
    parser.add_argument("--maps", type=int | None, help="check attention maps of each arm on so many cases; report")
    parser.add_argument("--amend", help="why the study changed after it was recorded; it is reported")


def report(parser: ArgumentParser) -> None:
    """Write a page of scores, cases slice by slice, and training curves: one file, offline."""
    parser.add_argument(
        "source",
        help="folder that evaluate or cross-validate wrote, or a run; its held-out cases are then predicted first",
    )
    parser.add_argument("-o", "--output", help="HTML file (default: report.html in that folder)")
    parser.add_argument("--cases", type=int, default=40, help="number of cases to show, the worst ones")
    parser.add_argument("--run", action="append", help="show the training of this run, too")
    parser.add_argument("--root", help="folder of a run's dataset (default: the one of its training)")
    parser.add_argument("--device", default="auto", help="device for a run: auto, cpu, cuda or mps")


def export(parser: ArgumentParser) -> None:
    """Write the network of a model for other programs."""
    parser.add_argument("-m", "--model", required=True, help="folder of a run, model file, or hippocampus")
    parser.add_argument(
        "--to",
        type=Literal["bundle", "onnx", "pt2"],
        required=True,
        help="bundle: a folder for MONAI; onnx; pt2: a program for torch.export.load",
    )
    parser.add_argument("-o", "--output", required=True, help="file to write; of a bundle the folder")
    parser.add_argument("--check", help="a scan, or a folder of them, to compare export and model on")


def card(parser: ArgumentParser) -> None:
    """Write a model card, with the head that the Hugging Face hub reads."""
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("-o", "--output", help="file to write (default: README.md in that folder)")


def fetch(parser: ArgumentParser) -> None:
    """Download a public dataset."""
    parser.add_argument("dataset", help="hippocampus, prostate, heart or brain-tumour")
    parser.add_argument("--root", help=ROOT)


def phantom(parser: ArgumentParser) -> None:
    """Make a dataset of MR-like phantoms."""
    parser.add_argument("--root", help=ROOT)
    parser.add_argument("--training", type=int, default=24, help="number of training cases")
    parser.add_argument("--test", type=int, default=6, help="number of test cases")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cohort")


def attention(parser: ArgumentParser) -> None:
    """List the attention mechanisms, explain their options, and measure the cost of each."""
    parser.add_argument("mechanisms", nargs="*", help="names to explain, or specifications to measure (default: all)")
    parser.add_argument("--channels", type=int, default=64, help="channels of the features")
    parser.add_argument("--grid", default="56,56", help="voxels along each axis of the features: 2 or 3 numbers")
    parser.add_argument("--init", type=Literal["open", "paper"], default="open", help="start open, or as published")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps")
