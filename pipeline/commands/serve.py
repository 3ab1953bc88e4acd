"""``mathpipe serve``: show runs on a local page that follows them."""

from __future__ import annotations

import click

from mathpipe.evaluate.live.live_server import LiveServer
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.console import handle_sigterm, log


@click.command("serve")
@click.argument("runs", nargs=-1, type=LocalPath())
@click.option("--port", type=CountRange(0, 65535), default=8765, show_default=True, help="Port; 0 takes a free one.")
def serve(runs: tuple[str, ...], port: int) -> None:
    """Show runs on a local page that follows them: loss, accuracy by tolerance, failures so far, reports.

    RUNS are directories of runs, or directories that contain runs.  [default: runs]  The page reads the files of the runs again
    every other second, so it can be started before, during and after a training. Only this machine reaches it: 127.0.0.1. From
    another machine, forward the port: `ssh -L 8765:127.0.0.1:8765 HOST`.

    \b
    Example:
      mathpipe serve
      mathpipe serve runs/add runs/inverse --port 0
    """
    server = LiveServer(runs or ("runs",), port)
    click.echo(server.url)
    log("stop with Ctrl-C")
    with server, handle_sigterm():
        server.serve_forever(poll_interval=0.2)
