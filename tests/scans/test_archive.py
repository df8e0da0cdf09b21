"""A DICOM segmentation goes into an archive (Orthanc) beside its series, and comes back by DICOMweb as it was."""

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from attention_unet.scans.dicom_segmentation import make_segmentation
from tests.conftest import oblique_affine
from tests.scans.segmentations import LABELS, mask, read_back, series

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
BOUNDARY = b"between-files"


@pytest.fixture
def archive(tmp_path):
    """Start Orthanc, and return the address of its DICOMweb service."""
    program = shutil.which("Orthanc")
    if not (program and PLUGIN.exists()):
        pytest.skip("needs Orthanc with DICOMweb (Debian: orthanc, orthanc-dicomweb)")
    with socket.socket() as free, socket.socket() as second:
        free.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        port, dicom = free.getsockname()[1], second.getsockname()[1]
    settings = {
        "StorageDirectory": str(tmp_path / "archive"),
        "IndexDirectory": str(tmp_path / "archive"),
        "HttpPort": port,
        "DicomPort": dicom,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        running = subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/dicom-web/studies"
            for _ in range(200):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            yield address
        finally:
            running.terminate()
            running.wait(30)


def store(address, paths):
    parts = [b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in paths]
    headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'}
    body = b"\r\n".join([*parts, b"--" + BOUNDARY + b"--"])
    with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=30) as answer:
        return answer.status


def fetch(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        boundary = b"--" + answer.headers.get_param("boundary").encode()
        return [part.partition(b"\r\n\r\n")[2][:-2] for part in answer.read().split(boundary)[1:-1]]


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_segmentation_is_stored_with_its_series_and_fetched(tmp_path, archive, shuffled):
    volume, path = series(tmp_path / "series", oblique_affine(), shuffled), tmp_path / "mask.dcm"
    stored = mask()
    make_segmentation(stored, volume, LABELS, {}).save_as(path)
    assert store(archive, [*sorted((tmp_path / "series").glob("*.dcm")), path]) == 200
    own, slices = dcmread(path), [dcmread(file) for file in (tmp_path / "series").glob("*.dcm")]
    study = f"{archive}/{slices[0].StudyInstanceUID}"
    with urllib.request.urlopen(f"{study}/series", timeout=30) as answer:
        modalities = {found["00080060"]["Value"][0] for found in json.load(answer)}
    assert modalities == {"MR", "SEG"}
    (fetched,) = fetch(f"{study}/series/{own.SeriesInstanceUID}")
    (tmp_path / "fetched.dcm").write_bytes(fetched)
    anterior, posterior = read_back(tmp_path / "fetched.dcm", volume)
    np.testing.assert_array_equal(anterior == 1, stored == 1)
    np.testing.assert_array_equal(posterior == 1, stored == 4)
    referred = {each.ReferencedSOPInstanceUID for each in own.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    of_archive = {
        dcmread(io.BytesIO(each)).SOPInstanceUID for each in fetch(f"{study}/series/{slices[0].SeriesInstanceUID}")
    }
    assert referred <= of_archive
