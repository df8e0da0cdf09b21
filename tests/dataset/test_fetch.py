import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from attention_unet.dataset import fetch as module
from attention_unet.dataset.fetch import PublicDataset, fetch
from attention_unet.errors import DataError


def archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


GOOD = archive({"Set/dataset.json": b"{}", "Set/imagesTr/a.nii.gz": bytes(range(256)) * 4000})


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one file; breaks off after ``cut`` bytes of an answer, as often as told; knows Range, if told."""

    content, cut, cuts, knows_range = b"", 0, 0, True
    asked: list = []  # noqa: RUF012  # set anew by each test

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_range else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        rest = self.content[start:]
        if type(self).cuts > 0:
            type(self).cuts -= 1
            rest = rest[: self.cut]
        self.wfile.write(rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(content, cut=0, cuts=0, knows_range=True, md5=None):
        behaviour = {"content": content, "cut": cut, "cuts": cuts, "knows_range": knows_range, "asked": []}
        handler = type("Handler", (Server,), behaviour)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        checksum = md5 or hashlib.md5(content).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/set.tar"
        return PublicDataset(url, checksum, 2_000_000, "Set", "CC0"), handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_gets_checks_and_unpacks(serve, tmp_path):
    dataset, handler = serve(GOOD)
    seen = []
    folder = fetch(dataset, tmp_path / "data", lambda have, total: seen.append((have, total)))
    assert (folder / "imagesTr" / "a.nii.gz").stat().st_size == 1_024_000
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["Set"]
    fetch(dataset, tmp_path / "data", lambda have, total: None)
    assert len(handler.asked) == 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Try again without waiting."""
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))


@pytest.mark.parametrize("knows_range", [True, False])
def test_goes_on_by_itself_where_a_download_broke_off(serve, tmp_path, knows_range):
    dataset, handler = serve(GOOD, cut=300_000, cuts=1, knows_range=knows_range)
    assert fetch(dataset, tmp_path, lambda have, total: None).is_dir()
    assert handler.asked == [None, "bytes=300000-"]


def test_a_line_that_keeps_breaking_is_told_and_another_call_goes_on(serve, tmp_path):
    dataset, handler = serve(GOOD, cut=300_000, cuts=3)
    with pytest.raises(DataError, match=r"broken off.*call again to go on"):
        fetch(dataset, tmp_path, lambda have, total: None)
    assert fetch(dataset, tmp_path, lambda have, total: None).is_dir()
    assert handler.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_half_copied_folder_is_not_taken_for_the_dataset(serve, tmp_path):
    (tmp_path / "Set" / "imagesTr").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Set: is there, but holds no dataset\.json: remove it"):
        fetch(serve(GOOD)[0], tmp_path, lambda have, total: None)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_only_files_and_folders_are_unpacked(serve, tmp_path, kind):
    odd = tarfile.TarInfo("Set/odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    buffer = io.BytesIO(GOOD)
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        tar.addfile(odd)
    with pytest.raises(DataError, match=r"cannot be unpacked safely \(Set/odd is neither a file nor a folder"):
        fetch(serve(buffer.getvalue())[0], tmp_path / "data", lambda have, total: None)
    assert not (tmp_path / "data" / "Set").exists()


def test_no_more_is_unpacked_than_it_should_be(serve, tmp_path):
    large = archive({"Set/dataset.json": b"{}", "Set/a": b"x" * 2_000_001})
    with pytest.raises(DataError, match=r"unpacks to more than 2000000 bytes"):
        fetch(serve(large)[0], tmp_path / "data", lambda have, total: None)
    assert not (tmp_path / "data" / "Set").exists()


@pytest.mark.parametrize("name", ["/tmp/escaped", "Set/../../escaped", "..\\escaped"])
def test_no_name_leads_out(serve, tmp_path, name):
    with contextlib.suppress(DataError):
        fetch(serve(archive({"Set/dataset.json": b"{}", name: b"out"}))[0], tmp_path / "data", lambda have, total: None)
    assert not [path for path in (tmp_path / "escaped", Path("/tmp/escaped")) if path.exists()]


def test_wrong_content_is_removed(serve, tmp_path):
    dataset, _ = serve(b"<html>moved</html>", md5="0" * 32)
    with pytest.raises(DataError, match="checksum differs"):
        fetch(dataset, tmp_path, lambda have, total: None)
    assert list(tmp_path.iterdir()) == []


def test_members_that_leave_the_folder_are_refused(serve, tmp_path):
    dataset, _ = serve(archive({"Set/dataset.json": b"{}", "../escaped.txt": b"out"}))
    with pytest.raises(DataError, match="cannot be unpacked safely"):
        fetch(dataset, tmp_path / "data", lambda have, total: None)
    assert not (tmp_path / "escaped.txt").exists()
    assert not (tmp_path / "data" / "Set").exists()


def test_another_archive_is_refused(serve, tmp_path):
    dataset, _ = serve(archive({"Other/dataset.json": b"{}"}))
    with pytest.raises(DataError, match=r"holds no Set/dataset\.json"):
        fetch(dataset, tmp_path, lambda have, total: None)


def test_server_out_of_reach(tmp_path):
    with pytest.raises(DataError, match="out of reach"):
        fetch(PublicDataset("http://127.0.0.1:9/x.tar", "0", 1, "Set", ""), tmp_path, lambda have, total: None)
