"""A Hub of one repository in memory, as far as an upload and a download by `huggingface_hub` go."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Serves on a free port of this machine; `files` and `created` are what was uploaded and asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.created: list[dict] = []
        self.downloads: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args) -> None:
        pass

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_POST(self) -> None:
        body, hub = self.body(), self.server
        if self.path.endswith("/repos/create"):
            hub.created.append(json.loads(body))
            self.answer({"url": f"{hub.url}/me/tiny", "name": "me/tiny", "id": "1"})
        elif self.path.endswith("/validate-yaml"):
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if "safetensors" in f["path"] else "regular"}
                for f in json.loads(body)["files"]
            ]
            self.answer({"files": [{**mode, "shouldIgnore": False, "oid": None} for mode in modes]})
        elif self.path.endswith("/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}}} for o in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.large[value["oid"]]
            self.answer({"commitUrl": f"{hub.url}/me/tiny/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        else:
            self.answer({"error": "not here"}, 404)

    def do_PUT(self) -> None:
        self.server.large[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer({})

    def do_GET(self) -> None:
        files = self.server.files
        if found := re.search(r"^(?:/datasets)?/me/tiny/resolve/[^/]+/(.*)", self.path):
            content = files[found[1]]
            if self.command == "GET":
                self.server.downloads.append(found[1])
            self.answer(content, etag=f'"{hashlib.sha256(content).hexdigest()}"', x_repo_commit=COMMIT)
        elif "/me/tiny/tree/" in self.path:
            listed = [{"type": "file", "path": p, "size": len(f), "oid": "b" * 40} for p, f in files.items()]
            self.answer(listed)
        elif re.match("/api/(models|datasets)/me/tiny", self.path):
            self.answer(
                {"id": "me/tiny", "sha": COMMIT, "private": True, "siblings": [{"rfilename": p} for p in files]}
            )
        else:
            self.answer({"error": "not here"}, 404, x_error_code="RepoNotFound")

    do_HEAD = do_GET
