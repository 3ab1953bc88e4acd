"""The live page: it follows a log while it grows, says what its files say, and serves nothing but runs and their reports."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.live.live_page import accuracy, failures, loss, overview, run_section
from mathpipe.evaluate.live.live_server import HOST, LiveServer
from mathpipe.evaluate.live.run_status import find_runs, read_status, run_key

RECORD = {"task": "add", "spec": {"task": "add", "seed": 3, "problems": {"spectrum": []}}, "config": {"steps": 100}}
EVIL = "<img src=x onerror=alert(1)>"


def append(run: Path, step: int, **values: float) -> None:
    with (run / "curves.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with one that is being trained and has been evaluated before."""
    run = tmp_path / "runs" / "add"
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(RECORD))
    append(run, 10, train_loss=2.5)
    append(run, 20, train_loss=1.5, valid_loss=1.6, accuracy=0.5, within_2_percent=0.25, invalid=0.125, seconds=4.0)
    (run / "evaluation" / "test" / "metrics.json").write_text(json.dumps({"n": 200, "accuracy": 0.995}))
    (run / "evaluation" / "test" / "report.html").write_text("<p>the report</p>")
    (tmp_path / "runs" / "add.old-1").mkdir()
    (tmp_path / "runs" / "add.old-1" / "run.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "runs"


@pytest.fixture
def server(runs: Path) -> Iterator[LiveServer]:
    live = LiveServer([str(runs)])
    thread = threading.Thread(target=live.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield live
    live.shutdown()
    thread.join()
    live.server_close()


def get(server: LiveServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    result = response.status, response.read().decode(), dict(response.getheaders())
    connection.close()
    return result


def test_a_run_is_followed_while_its_log_grows(server: LiveServer, runs: Path) -> None:
    run = runs / "add"
    address = f"/runs/{run_key(run)}"
    status, page, headers = get(server, address)
    assert status == 200 and "50.0\N{NO-BREAK SPACE}%" in page and ">20<" in page
    assert get(server, address, **{"If-None-Match": headers["ETag"]})[:2] == (304, "")
    append(run, 30, train_loss=0.5, valid_loss=0.6, accuracy=0.75, within_2_percent=0.5, invalid=0.0, seconds=6.0)
    with (run / "curves.jsonl").open("a") as file:
        file.write('{"step": 40, "train_lo')  # a line that is being written
    status, page, _ = get(server, address, **{"If-None-Match": headers["ETag"]})
    assert status == 200 and ">30<" in page and "75.0\N{NO-BREAK SPACE}%" in page
    assert "0.5; validation" not in page and "validation 0.6" in page


def test_plots_hold_the_logged_figures(runs: Path) -> None:
    append(runs / "add", 30, train_loss=0.5, accuracy=0.75, within_2_percent=0.5, invalid=0.0)
    status = read_status(runs / "add", "key")
    losses, accuracies, failed = loss(status), accuracy(status), failures(status)
    assert losses is not None and losses.rows == [[10, 2.5, None], [20, 1.5, 1.6], [30, 0.5, None]]
    assert accuracies is not None and accuracies.columns == ["step", "accuracy", "within_2_percent"]
    assert accuracies.rows == [[20, 0.5, 0.25], [30, 0.75, 0.5]]
    assert failed is not None and failed.rows == [[20, 50.0, 12.5], [30, 25.0, 0.0]]


def test_states(runs: Path) -> None:
    run = runs / "add"
    assert read_status(run, "k").state == "running"
    os.utime(run / "curves.jsonl", (0, 0))
    os.utime(run / "run.json", (0, 0))
    assert read_status(run, "k").state == "stopped"
    (run / "summary.json").write_text("{}")
    assert read_status(run, "k").state == "finished"


def test_an_evaluation_in_progress_shows_its_failures_so_far(runs: Path) -> None:
    part = runs / "add" / "evaluation" / "test.beam-2" / ".partial" / "0123" / "00000.parquet"
    part.parent.mkdir(parents=True)
    table = {
        "rank": [0, 1, 0, 1, 0, 1],
        "passed": [True, False, False, True, False, False],
        "outcome": ["exact", "wrong_value", "wrong_value", "exact", "malformed", "malformed"],
    }
    pq.write_table(pa.table(table), part)
    (part.parent / "00001.parquet").write_bytes(b"half a file")
    (progress,) = read_status(runs / "add", "k").in_progress
    assert (progress.problems, progress.failures) == (3, {"wrong_value": 1, "malformed": 1})
    page = run_section(read_status(runs / "add", "k"))
    assert "3 problems so far, 2 failures: malformed 1, wrong value 1" in page
    assert "of 200 problems, 1 failure<" in page


def test_runs_are_listed_and_new_ones_appear(server: LiveServer, runs: Path) -> None:
    assert list(find_runs([str(runs)]).values()) == [runs / "add"], "backups are left out"
    (runs / "deep" / "er").mkdir(parents=True)
    (runs / "deep" / "er" / "run.json").write_text(json.dumps({**RECORD, "task": EVIL}))
    _, page, _ = get(server, "/overview")
    assert page.count("<tr><td>") == 2 and "1 evaluation," in page and "0 evaluations" in page
    assert EVIL not in page and "&lt;img" in page
    (runs / "add" / "run.json").write_text("{broken")
    assert get(server, "/overview")[0] == 200
    assert "no runs yet" in overview([])
    with pytest.raises(UserError, match="no directory"):
        find_runs([str(runs / "missing")])


def test_nothing_but_runs_and_their_reports_is_served(server: LiveServer, runs: Path) -> None:
    key = run_key(runs / "add")
    assert get(server, f"/runs/{key}/test/report.html")[:2] == (200, "<p>the report</p>")
    outside = [
        "/../secret.txt", "/secret.txt", f"/runs/{key}/../../secret.txt", f"/runs/{key}/%2e%2e/report.html",
        f"/runs/{key}/..%2f..%2f..%2fsecret.txt/report.html", f"/runs/{key}/test/metrics.json", f"/runs/{key}/test/",
        "/runs/add", "/runs/..", "//secret.txt", "/runs/%00/report.html",
    ]  # fmt: skip
    for path in outside:
        status, body, _ = get(server, path)
        assert status == 404 and "secret" not in body, path
    (runs / "add" / "evaluation" / "test" / "report.html").unlink()
    (runs / "add" / "evaluation" / "test" / "report.html").symlink_to(runs.parent / "secret.txt")
    assert get(server, f"/runs/{key}/test/report.html")[0] == 404, "a link that leads out of the run"
    assert get(server, "/overview", "POST")[0] == 501 and get(server, "/overview", "PUT")[0] == 501


def test_only_this_machine_and_only_by_its_own_name(server: LiveServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", Host="evil.example")[0] == 403
    assert get(server, "/", Host=f"localhost:{server.server_port}")[0] == 200
    status, body, headers = get(server, "/", "HEAD")
    assert (status, body) == (200, "") and int(headers["Content-Length"]) > 1000
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff" and "Access-Control-Allow-Origin" not in headers


def test_a_port_that_is_taken_is_a_user_error(runs: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        with pytest.raises(UserError, match="cannot be used"):
            LiveServer([str(runs)], other.getsockname()[1])


@pytest.mark.parametrize(("width", "scheme"), [(1920, "light"), (1200, "dark"), (390, "light")])
def test_the_page_follows_in_a_browser(server: LiveServer, runs: Path, browser: Any, width: int, scheme: str) -> None:
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("#run .figure.first")
    assert page.locator("#run .figure.first b").inner_text() == "20"
    if not page.locator("#loss details[open]").count():  # open from the beginning where there is room beside the plot
        page.locator("#loss summary").click()
    append(runs / "add", 30, train_loss=0.5, valid_loss=0.6, accuracy=0.75, within_2_percent=0.5, invalid=0.0)
    page.locator("#run .figure.first b", has_text="30").wait_for()
    assert page.locator("#loss details[open]").count() == 1, "an open table stays open"
    assert page.locator("#accuracy svg").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == [] and all(url.startswith((server.url, "data:")) for url in requests)


def test_a_missing_server_is_reported(runs: Path, browser: Any) -> None:
    live = LiveServer([str(runs)])
    thread = threading.Thread(target=live.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    page = browser.new_page()
    page.goto(live.url)
    page.wait_for_selector("#run .figure.first")
    live.shutdown()
    live.server_close()
    thread.join()
    page.locator("#connection", has_text="does not answer; figures of").wait_for()
    assert page.locator("#run .figure.first b").inner_text() == "20", "the last figures stay"
