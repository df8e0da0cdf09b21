"""Outputs hold no name of a patient, user or machine, and no folder that contains one."""

import gzip
import re
import shutil
import socket
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.cli import main
from tests.reliability.build import AFFINE, CASES, SMALL, image_of, label_of, write_description

PATIENT, USER = "Doe^Jane 1970", "quentin-the-user"


def sign(image):
    """Put the patient into every text field and an extension of the header."""
    for field in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        image.header[field] = PATIENT[: image.header[field].dtype.itemsize].encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"patient {PATIENT}".encode()))
    return image


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Return all outputs of scans that name a patient, in a home folder that names the user."""
    home = tmp_path / "home" / USER / "study"
    data = home / "data"
    for case in CASES:
        for kind, array in (("imagesTr", image_of(case)), ("labelsTr", label_of(case))):
            name = f"{case}_0000.nii.gz" if kind == "imagesTr" else f"{case}.nii.gz"
            (data / kind).mkdir(parents=True, exist_ok=True)
            nib.save(sign(nib.Nifti1Image(array, AFFINE)), data / kind / name)
    write_description(data)
    scans = shutil.copytree(data / "imagesTr", home / "scans")
    (scans / "broken_0000.nii.gz").write_bytes(b"broken")
    nib.save(nib.Nifti1Image(np.full_like(image_of("a"), 3), AFFINE), scans / "flat_0000.nii.gz")  # gets a warning
    signed = sitk.GetImageFromArray(image_of("d").T)
    signed.SetMetaData("patient", PATIENT)
    sitk.WriteImage(signed, str(scans / "itk_0000.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(image_of("d").T), str(scans / "cut_0000.mhd"))
    (scans / "cut_0000.raw").write_bytes(b"too few")
    run, folds, masks, scores = home / "runs" / "one", home / "runs" / "folds", home / "masks", home / "scores"
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("USER", USER)
    small = [f"--data.root={data}", *SMALL]
    assert main(["train", f"--run={run}", *small]) == 0
    assert main(["cross-validate", f"--run={folds}", *small]) == 0
    everything = ["--attention-maps", "--probabilities", "--uncertainty", "--format=own"]
    assert main(["predict", "-i", str(scans), "-o", str(masks), "-m", str(run), *everything]) == 1
    shutil.copy(masks / "a.nii.gz", masks / "b.nii.gz")
    (masks / "c.nii.gz").write_bytes(b"broken")
    call = ["evaluate", "-p", str(masks), "-r", str(data / "labelsTr"), "-o", str(scores), "--images", str(scans)]
    assert main(call) == 1
    assert main(["compare", str(scores), str(folds), "-o", str(home / "comparison")]) == 0
    assert main(["explain", str(run), "--cases=1"]) == 0
    (masks / "a.nii.gz").write_bytes(b"broken")  # the page says that it cannot be shown
    (scans / "b_0000.nii.gz").unlink()
    for source in (run, scores, folds):
        assert main(["report", str(source)]) in (0, 1)
    return [home / "runs", masks, scores, home / "comparison"]


def contents(file):
    """Yield the bytes of a file, raw and decompressed."""
    content = file.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if file.suffix == ".png":
        for start in re.finditer(b"IDAT", content):
            try:
                yield zlib.decompressobj().decompress(content[start.end() :])
            except zlib.error:
                continue


def test_no_output_names_a_patient_a_user_or_a_folder_of_this_machine(outputs):
    secrets = [PATIENT, PATIENT[:10], USER, socket.gethostname()]
    secrets = [secret.encode() for secret in secrets if len(secret) > 3]
    seen = 0
    for folder in outputs:
        for file in folder.rglob("*"):
            if not file.is_file() or "cache" in file.parts:
                continue
            seen += 1
            found = [secret for secret in secrets for content in contents(file) if secret in content]
            assert not found, f"{file} tells {found}"
            assert not [secret for secret in secrets if secret.decode() in file.name], file
    assert seen > 60
