import functools
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openjepa.errors import CheckpointError
from openjepa.interop.download import Expected, download

CONTENT = bytes(range(256)) * 20_000  # 5 MB


class Handler(BaseHTTPRequestHandler):
    """Serves one file, with ranges; may break off, ignore ranges, or change the file."""

    def __init__(self, state, *args):
        self.state = state
        super().__init__(*args)

    def do_GET(self):
        state = self.state
        state["requests"].append(dict(self.headers))
        if self.path != "/file.pt":
            self.send_error(404)
            return
        content, tag = state["content"], state["tag"]
        start = 0
        asked = self.headers.get("Range")
        if asked and state["ranges"] and self.headers.get("If-Range") in (None, tag):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content)
        if state["breaks"]:
            stop = min(stop, start + state["breaks"].pop(0))
        self.wfile.write(content[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    state = {"content": CONTENT, "tag": '"one"', "ranges": True, "breaks": [], "requests": []}
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, state))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state["url"] = f"http://127.0.0.1:{http.server_port}/file.pt"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def ranges(server):
    return [request.get("Range") for request in server["requests"]]


def test_a_file_arrives_whole_and_once(server, tmp_path):
    seen = []
    expected = Expected(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    path = download(server["url"], tmp_path / "a" / "file.pt", expected, progress=lambda *n: seen.append(n))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert download(server["url"], path, expected) == path
    assert len(server["requests"]) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.pt"]


def test_a_broken_transfer_resumes_by_itself(server, tmp_path):
    server["breaks"] = [1_000_000, 2_000_000]
    path = download(server["url"], tmp_path / "file.pt")
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000000-", "bytes=3000000-"]


def test_the_next_call_resumes(server, tmp_path):
    server["breaks"] = [700_000, 0]
    with pytest.raises(CheckpointError, match="Run the same command again to go on after 700000 bytes"):
        download(server["url"], tmp_path / "file.pt")
    assert not (tmp_path / "file.pt").exists()
    server["requests"].clear()
    assert download(server["url"], tmp_path / "file.pt").read_bytes() == CONTENT
    assert ranges(server) == ["bytes=700000-"]


def test_a_file_that_has_changed_is_fetched_anew(server, tmp_path):
    server["breaks"] = [700_000, 0]
    with pytest.raises(CheckpointError):
        download(server["url"], tmp_path / "file.pt")
    server["content"], server["tag"] = CONTENT[::-1], '"two"'
    assert download(server["url"], tmp_path / "file.pt").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges(server, tmp_path):
    server["ranges"], server["breaks"] = False, [700_000]
    assert download(server["url"], tmp_path / "file.pt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (Expected(num_bytes=17), f"must have 17 bytes; it has {len(CONTENT)}"),
        (Expected(sha256="0" * 64), "must have SHA-256 0000"),
        (Expected(sha256="abc*def"), r"must have SHA-256 abc\*def"),
    ],
)
def test_another_file_is_refused_and_removed(server, tmp_path, expected, message):
    with pytest.raises(CheckpointError, match=message):
        download(server["url"], tmp_path / "file.pt", expected)
    assert not (tmp_path / "file.pt").exists()
    assert not (tmp_path / "file.pt.part").exists()


def test_digits_that_are_not_known(server, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    download(server["url"], tmp_path / "file.pt", Expected(sha256=f"{digest[:8]}*{digest[-7:]}"))


def test_refusals(server, tmp_path):
    with pytest.raises(CheckpointError, match="the server says 404"):
        download(server["url"].replace("file.pt", "none.pt"), tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="`offline` forbids"):
        download(server["url"], tmp_path / "file.pt", offline=True)
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        download("http://127.0.0.1:9/file.pt", tmp_path / "file.pt")
