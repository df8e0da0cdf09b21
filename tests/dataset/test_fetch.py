import errno
import hashlib
import http.client
import http.server
import io
import shutil
import tarfile
import threading
from unittest import mock

import pytest

from attention_unet.dataset import fetch as module
from attention_unet.dataset.fetch import DATASETS, DecathlonDataset, fetch
from attention_unet.errors import DataError
from attention_unet.files.lock import Busy, folder_lock

GOOD = {"Set/dataset.json": b"{}", "Set/imagesTr/a.nii.gz": bytes(range(256)) * 4000}


def archive(members, *special):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for kind in special:
            info = tarfile.TarInfo("Set/special")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def point_to(monkeypatch):
    """Let MONAI name another address of a task, and return the task."""

    def point(url, md5):
        monkeypatch.setitem(DecathlonDataset.resource, "Set", url)
        monkeypatch.setitem(DecathlonDataset.md5, "Set", md5)
        return "Set"

    return point


@pytest.fixture
def serve(point_to):
    servers = []

    def start(content, md5=None, missing=0, ranges=True, length=True):
        """Serve one file. The first answer lacks ``missing`` bytes; later ones start where they are asked to."""
        start.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range", "bytes=0-") if ranges else "bytes=0-"
                first, end = int(wanted[6:-1]), len(content) - (0 if start.asked else missing)
                start.asked.append(first)
                self.send_response(416 if first == len(content) else 206 if first else 200)
                if length:
                    self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                self.wfile.write(content[first:end])

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/set.tar"
        return point_to(url, md5 or hashlib.md5(content).hexdigest())

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_gets_checks_and_unpacks(serve, point_to, tmp_path, capfd):
    dataset = serve(archive(GOOD))
    folder = fetch(dataset, tmp_path / "data")
    assert (folder / "imagesTr" / "a.nii.gz").read_bytes() == GOOD["Set/imagesTr/a.nii.gz"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["Set"]
    nowhere = point_to("http://127.0.0.1:9/x.tar", "0")
    assert fetch(nowhere, tmp_path / "data") == folder  # a complete folder is not downloaded again
    assert capfd.readouterr() == ("", "")


def test_a_half_copied_folder_is_not_taken_for_the_dataset(serve, tmp_path):
    (tmp_path / "Set" / "imagesTr").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Set: exists, but has no dataset\.json: remove it"):
        fetch(serve(archive(GOOD)), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_only_files_and_folders_are_unpacked(serve, tmp_path, kind):
    dataset = serve(archive(GOOD, kind))
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with pytest.raises(DataError, match=r"cannot be unpacked safely \(.* link detected in archive: Set/special\)"):
            fetch(dataset, tmp_path)
        assert list(tmp_path.iterdir()) == []
    else:
        assert sorted(path.name for path in fetch(dataset, tmp_path).iterdir()) == ["dataset.json", "imagesTr"]


@pytest.mark.parametrize("name", ["/tmp/escaped", "Set/../../escaped", "../escaped"])
def test_members_that_leave_the_folder_are_refused(serve, tmp_path, name):
    with pytest.raises(DataError, match="cannot be unpacked safely"):
        fetch(serve(archive({**GOOD, name: b"out"})), tmp_path / "data")
    assert [*tmp_path.iterdir(), *(tmp_path / "data").iterdir()] == [tmp_path / "data"]


def test_another_archive_is_refused(serve, tmp_path):
    for content, md5, message in (
        (b"<html>moved</html>", "0" * 32, "expected an archive with md5 00000000"),
        (b"<html>moved</html>", None, "cannot be unpacked safely"),
    ):
        with pytest.raises(DataError, match=message):
            fetch(serve(content, md5), tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_is_continued(serve, tmp_path, ranges):
    content = archive(GOOD)
    dataset = serve(content, missing=300_000, ranges=ranges)
    with pytest.raises(DataError, match=r"tar: download failed .*: repeat the command to continue"):
        fetch(dataset, tmp_path)
    partial = tmp_path / ".fetch-Set" / "archive.tar"
    assert partial.read_bytes() == content[:-300_000]
    assert (fetch(dataset, tmp_path) / "imagesTr" / "a.nii.gz").read_bytes() == GOOD["Set/imagesTr/a.nii.gz"]
    assert serve.asked == [0, len(content) - 300_000 if ranges else 0]
    assert [path.name for path in tmp_path.iterdir()] == ["Set"]


def test_an_archive_that_was_complete_is_not_downloaded_again(serve, tmp_path):
    partial = tmp_path / ".fetch-Set" / "archive.tar"
    partial.parent.mkdir()
    partial.write_bytes(archive(GOOD))
    assert fetch(serve(archive(GOOD)), tmp_path).is_dir()


def test_what_a_killed_process_had_unpacked_is_unpacked_again(serve, tmp_path):
    half = tmp_path / ".fetch-Set" / "content" / "Set"
    half.mkdir(parents=True)
    (half / "dataset.json").write_text("{}")
    assert (fetch(serve(archive(GOOD)), tmp_path) / "imagesTr" / "a.nii.gz").is_file()


def test_a_second_process_disturbs_nothing(serve, tmp_path):
    content = tmp_path / ".fetch-Set" / "content"
    content.mkdir(parents=True)
    with folder_lock(tmp_path / ".fetch-Set"), pytest.raises(Busy):
        fetch(serve(archive(GOOD)), tmp_path)
    assert content.is_dir()


def test_a_server_that_does_not_say_the_length(serve, tmp_path):
    assert fetch(serve(archive(GOOD), length=False), tmp_path).is_dir()


def test_an_archive_of_another_folder_is_refused(serve, tmp_path):
    with pytest.raises(DataError, match=r"cannot be unpacked safely \(it holds no Set with a dataset\.json\)"):
        fetch(serve(archive({"Other/dataset.json": b"{}"})), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server(point_to, tmp_path):
    with pytest.raises(DataError, match=r"tar: download failed .*: repeat the command to continue"):
        fetch(point_to("http://127.0.0.1:9/x.tar", "0"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_space_is_checked_first(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(DataError, match="has 1 MB free: expected 2 MB, for archive and content; free space"):
        fetch(serve(archive(GOOD)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mr_tasks_of_the_decathlon():
    assert list(DATASETS) == ["hippocampus", "prostate", "heart", "brain-tumour"]
    assert DecathlonDataset.md5[DATASETS["hippocampus"]] == "9d24dba78a72977dbd1d2e110310f31b"
    assert all(DecathlonDataset.resource[task].endswith(f"/{task}.tar") for task in DATASETS.values())


def test_a_network_that_fails_is_no_full_disk(serve, tmp_path, monkeypatch):
    unreachable = OSError(errno.EHOSTUNREACH, "No route to host")
    monkeypatch.setattr(http.client.HTTPResponse, "read", mock.Mock(side_effect=unreachable))
    with pytest.raises(DataError, match=r"download failed \(.*No route to host\): repeat the command to continue"):
        fetch(serve(archive(GOOD)), tmp_path)


def test_a_full_disk_is_named(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "extractall", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): free space, or change"):
        fetch(serve(archive(GOOD)), tmp_path)
    assert [path.name for path in (tmp_path / ".fetch-Set").iterdir()] == ["archive.tar"]  # to continue with
