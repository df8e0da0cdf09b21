"""MONAI Label serves a bundle, and its masks agree with those of predict."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from attention_unet.evaluation.metrics import dice
from attention_unet.export.export import export_model
from attention_unet.inference.model_file import load_model

SECONDS = 180  # until the server answers
ENVIRONMENT = "MONAI_LABEL"  # names the folder of an environment that is made as docs/exporting.md says


@pytest.fixture
def server(tmp_path, real_data):
    """Return the address of a server, and the folder of its scans."""
    if ENVIRONMENT not in os.environ:
        pytest.skip(f"needs MONAI Label, in an environment of its own: set {ENVIRONMENT} to its folder")
    programs = Path(os.environ[ENVIRONMENT], "bin")
    program, path = programs / "monailabel", f"{programs}{os.pathsep}{os.environ['PATH']}"
    surroundings = {**os.environ, "PATH": path, "BUNDLE_DOWNLOAD_SRC": "local"}
    apps, scans = tmp_path / "apps", tmp_path / "scans"
    subprocess.run(
        [program, "apps", "--download", "--name", "monaibundle", "--output", apps], check=True, env=surroundings
    )
    export_model("hippocampus", "bundle", apps / "monaibundle" / "model" / "mine")
    scans.mkdir()
    for name in ("hippocampus_001", "hippocampus_003"):
        shutil.copy(real_data / "Task04_Hippocampus" / "imagesTr" / f"{name}.nii.gz", scans)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"models": "mine", "zoo_source": "local", "skip_trainers": "true", "sam2": "false"}
    call = [program, "start_server", "--app", apps / "monaibundle", "--studies", scans, "--port", str(port)]
    call += [word for name, value in settings.items() for word in ("--conf", name, value)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(call, stdout=log, stderr=log, env=surroundings)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(SECONDS):
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{address}/info/", timeout=60).close()
                break
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(1)
        yield address, scans
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.long
def test_its_masks_agree_with_those_of_predict(server, tmp_path):
    address, scans = server
    model = load_model("hippocampus")
    for scan in sorted(scans.glob("*.nii.gz")):
        name = scan.name.removesuffix(".nii.gz")
        request = urllib.request.Request(f"{address}/infer/mine?image={name}&output=image", b"params={}", method="POST")
        with urllib.request.urlopen(request, timeout=300) as answer:
            (tmp_path / "mask.nii.gz").write_bytes(answer.read())
        served, own = nib.load(tmp_path / "mask.nii.gz"), model.predict(scan).label_map
        np.testing.assert_allclose(served.affine, own.affine, atol=1e-4)
        for value in (1, 2):
            masks = [np.asarray(image.dataobj).squeeze() == value for image in (served, own)]
            assert dice(*masks) >= 0.99
