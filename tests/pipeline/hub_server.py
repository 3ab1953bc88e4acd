"""A stand-in for the HTTP interface of the Hugging Face hub: repositories, commits, large files, downloads; and its failures.

It keeps everything in memory. ``broken_puts``: how many uploads are cut off, counted down; ``broken_gets``: likewise, each
download then ends after half of the body. ``refuse``: a status for every request. ``requests``: (method, path) of all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

LARGE_SUFFIXES = (".parquet", ".arrow")


class Hub:
    """The state of the hub."""

    def __init__(self) -> None:
        self.repos: dict[str, list[dict[str, bytes]]] = {}  # commits: path -> content
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken_puts = self.broken_gets = 0
        self.refuse: int | None = None
        self.url = ""
        self.lock = threading.Lock()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        commits = self.repos[repo]
        return commits[-1] if revision == "main" else commits[int(revision, 16)]

    def sha(self, repo: str, revision: str = "main") -> str:
        return f"{len(self.repos[repo]) - 1:040x}" if revision == "main" else revision

    def count(self, method: str, pattern: str) -> int:
        return sum(m == method and re.search(pattern, path) is not None for m, path in self.requests)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(LARGE_SUFFIXES)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, value: Any = None, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        data = json.dumps(value).encode() if value is not None else body
        self.send_response(status)
        headers = headers or {}
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cut_off(self) -> None:
        self.close_connection = True
        self.connection.close()

    def handle_request(self) -> None:
        path = unquote(urlparse(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        with self.hub.lock:
            self.hub.requests.append((self.command, path))
        if self.command == "PUT" and self.hub.broken_puts > 0:
            self.hub.broken_puts -= 1
            self.rfile.read(length // 2)
            self.cut_off()
            return
        body = self.rfile.read(length)
        if self.hub.refuse is not None:
            self.reply(self.hub.refuse, {"error": "refused"})
            return
        for pattern, answer in ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match is not None:
                answer(self, body, *match.groups())
                return
        self.reply(404, {"error": f"no such address: {self.command} {path}"}, {"X-Error-Code": "RepoNotFound"})

    do_GET = do_POST = do_PUT = do_HEAD = handle_request

    # requests

    def create(self, body: bytes) -> None:
        values = json.loads(body)
        repo = f"{values['organization']}/{values['name']}"
        exists = repo in self.hub.repos
        self.hub.repos.setdefault(repo, [{".gitattributes": b"*.parquet filter=lfs\n"}])
        self.reply(409 if exists else 200, {"url": f"{self.hub.url}/datasets/{repo}", "error": "exists"})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        if repo not in self.hub.repos:
            self.reply(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        self.reply(200, {"id": repo, "sha": self.hub.sha(repo, revision or "main"), "private": False, "tags": []})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        entries = []
        for path, data in sorted(self.hub.files(repo, revision).items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
            if is_large(path):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self.reply(200, entries)

    def validate(self, body: bytes) -> None:
        self.reply(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        files = self.hub.files(repo)
        answers = []
        for file in json.loads(body)["files"]:
            data, large = files.get(file["path"]), is_large(file["path"])
            oid = None if data is None else hashlib.sha256(data).hexdigest() if large else git_oid(data)
            mode = "lfs" if large else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(200, {"files": answers})

    def batch(self, body: bytes, repo: str) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.blobs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append(answer)
        self.reply(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self.reply(200)

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        files = dict(self.hub.files(repo))
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.repos[repo].append(files)
        oid = self.hub.sha(repo)
        self.reply(200, {"commitUrl": f"{self.hub.url}/datasets/{repo}/commit/{oid}", "commitOid": oid})

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        data = self.hub.files(repo, revision).get(path) if repo in self.hub.repos else None
        if data is None:
            code = "EntryNotFound" if repo in self.hub.repos else "RepoNotFound"
            self.reply(404, {"error": "not found"}, {"X-Error-Code": code, "X-Repo-Commit": "0" * 40})
            return
        oid = hashlib.sha256(data).hexdigest() if is_large(path) else git_oid(data)
        headers = {"ETag": f'"{oid}"', "X-Repo-Commit": self.hub.sha(repo, revision)}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.command == "HEAD":
            self.reply(200, None, {**headers, "Content-Length": str(len(data))})
            return
        if self.hub.broken_gets > 0 and is_large(path):
            self.hub.broken_gets -= 1
            self.reply(200, None, {**headers, "Content-Length": str(len(data))}, data[: len(data) // 2])
            self.cut_off()
            return
        if start is None:
            self.reply(200, None, headers, data)
            return
        first = int(start[1])
        content_range = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.reply(206, None, {**headers, "Content-Range": content_range}, data[first:])


REPO = r"([^/]+/[^/]+)"
ROUTES = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"GET /api/datasets/{REPO}", Handler.info),
    (rf"GET /api/datasets/{REPO}/revision/([^/]+)", Handler.info),
    (rf"GET /api/datasets/{REPO}/tree/([^/]+)", Handler.tree),
    (rf"POST /api/datasets/{REPO}/preupload/([^/]+)", Handler.preupload),
    (rf"POST /api/datasets/{REPO}/commit/([^/]+)", Handler.commit),
    (rf"POST /datasets/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /lfs/([0-9a-f]+)", Handler.put),
    (rf"(?:GET|HEAD) /datasets/{REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
