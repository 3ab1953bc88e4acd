"""An HTTP server on this machine alone that shows runs, by the standard library.

=====================================  ========================================================
/                                      the page
/overview                              the table of all runs
/runs/<key>                            one run
/runs/<key>/<evaluation>/report.html   the report of one of its evaluations
=====================================  ========================================================

No part of an address ever becomes a path: runs and evaluations are looked up among those that a scan lists. Requests with another
host name are refused, so that no page of another site reaches the server through a name of its own (DNS rebinding).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.live.live_page import POLICY, live_page, overview, run_section
from mathpipe.evaluate.live.run_status import find_runs, read_status

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")


class LiveServer(ThreadingHTTPServer):
    """Serves the runs in ``folders`` on 127.0.0.1; ``port`` 0 takes a free one. UserError if the port is taken."""

    daemon_threads = True

    def __init__(self, folders: Sequence[str], port: int = 0) -> None:
        self.folders = list(folders)
        find_runs(self.folders)  # a missing folder is reported before the server starts
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be used",
                got=error.strerror or str(error),
                cause="another server uses it, such as an earlier `mathpipe serve`",
                next_step="`--port 0` takes a free one",
            ) from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    server_version, sys_version = "mathpipe", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        if name not in _NAMES:
            self._send(HTTPStatus.FORBIDDEN, f"this server answers to {HOST} alone", with_body=with_body)
            return
        try:
            content = self._content([unquote(part) for part in urlsplit(self.path).path.split("/")[1:]])
        except (OSError, UserError) as error:  # a run that was moved meanwhile
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, str(error), with_body=with_body)
            return
        if content is None:
            self._send(HTTPStatus.NOT_FOUND, "there is no such page", with_body=with_body)
        else:
            self._send(HTTPStatus.OK, content, "text/html", with_body=with_body)

    def _content(self, parts: list[str]) -> str | None:
        """The page at an address, by its parts; None if there is none."""
        match parts:
            case [""]:
                return live_page()
            case ["overview"]:
                runs = find_runs(self.server.folders)
                return overview([read_status(path, key) for key, path in runs.items()])
            case ["runs", key]:
                path = find_runs(self.server.folders).get(key)
                return None if path is None else run_section(read_status(path, key))
            case ["runs", key, evaluation, "report.html"]:
                return self._report(key, evaluation)
        return None

    def _report(self, key: str, evaluation: str) -> str | None:
        """A report that the run lists, if it lies inside the run, wherever links lead."""
        path = find_runs(self.server.folders).get(key)
        if path is None:
            return None
        reports = {status.name: status.report for status in read_status(path, key).evaluations}
        report = reports.get(evaluation)
        if report is None or not report.resolve().is_relative_to(path.resolve()):
            return None
        return report.read_text(encoding="utf-8")

    def _send(self, status: HTTPStatus, content: str, kind: str = "text/plain", *, with_body: bool) -> None:
        body = content.encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        if status == HTTPStatus.OK and self.headers.get("If-None-Match") == tag:
            status, body = HTTPStatus.NOT_MODIFIED, b""
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-cache",
            "ETag": tag,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests every other second are no messages."""
