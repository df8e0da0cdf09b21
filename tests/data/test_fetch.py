import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from attention_unet.data.fetch import PublicDataset, fetch
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
        return PublicDataset(f"http://127.0.0.1:{server.server_port}/set.tar", checksum, "Set", "CC0"), handler

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


@pytest.mark.parametrize("knows_range", [True, False])
def test_goes_on_where_a_download_broke_off(serve, tmp_path, knows_range):
    dataset, handler = serve(GOOD, cut=300_000, cuts=1, knows_range=knows_range)
    with pytest.raises(DataError, match=r"broken off.*call again to go on"):
        fetch(dataset, tmp_path, lambda have, total: None)
    assert fetch(dataset, tmp_path, lambda have, total: None).is_dir()
    assert handler.asked == [None, "bytes=300000-"]


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
        fetch(PublicDataset("http://127.0.0.1:9/x.tar", "0", "Set", ""), tmp_path, lambda have, total: None)
