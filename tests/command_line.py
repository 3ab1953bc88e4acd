"""The command line, called in this process."""

import pytest

from mathpipe.pipeline.cli import main


def call(*arguments: str) -> int:
    """The exit code of ``mathpipe ARGUMENTS``."""
    with pytest.raises(SystemExit) as exit_request:
        main(list(arguments))
    return int(exit_request.value.code or 0)
