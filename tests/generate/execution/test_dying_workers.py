"""A worker that dies while the present workers are asked for their versions does not end the run."""

from __future__ import annotations

from typing import Any

from mathpipe.generate.execution import executors


def test_worker_that_dies_during_the_version_check() -> None:
    class Client:
        def run(self, function: Any, on_error: str) -> dict[str, Any]:
            return {"tcp://dying": OSError("Stream is closed"), "tcp://alive": function()}

    messages: list[str] = []
    executors._check_workers(Client(), "tcp://scheduler", messages.append)
    assert messages == ["worker tcp://dying does not answer: Stream is closed"]
