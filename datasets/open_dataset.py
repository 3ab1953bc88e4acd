"""``from mathpipe.datasets import open_dataset``: the door through which a user of the library comes in.

``mathpipe.datasets`` has no ``__init__.py`` (the folder ``datasets/`` must not pass for Hugging Face's package of that name), so
it cannot hold a function; a module it can. Calling this module is calling ``mathpipe.datasets.reader.open_dataset``, which is
also where type checkers find it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from mathpipe.datasets import reader


class _Door(ModuleType):
    def __call__(
        self,
        directory: str | Path,
        split: str = "train",
        input_encoding: str = "P1000",
        output_encoding: str = "P1000",
        precision: int = 2,
    ) -> reader.Dataset:
        return reader.open_dataset(directory, split, input_encoding, output_encoding, precision)


_Door.__call__.__doc__ = reader.open_dataset.__doc__
sys.modules[__name__].__class__ = _Door
