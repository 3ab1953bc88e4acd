"""In which other notation the lines of files are examples, where none is in the notation that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Record
from mathpipe.generate.curate.import_batches import import_batch
from mathpipe.generate.curate.import_parts.import_part import ImportPart
from mathpipe.generate.dataset_spec import DatasetSpec, imported_spec

MAX_RECORDS = 20


def suggest_notation(spec: DatasetSpec, part: ImportPart, records: Sequence[Record]) -> str | None:
    """Options with which half of these records or more are examples, such as ``--notation latex``; None if there are none."""
    if not records:
        return None
    problems = imported_spec(spec)
    for notation in part.notations:
        for encodings in part.token_encodings if notation == "tokens" else (None,):
            source = problems.source.model_copy(update={"notation": notation, "encodings": encodings})
            changed = spec.model_copy(update={"problems": problems.model_copy(update={"source": source})})
            with contextlib.suppress(UserError):  # files that this notation cannot read at all
                if source != problems.source and 2 * len(import_batch(changed, records).examples) >= len(records):
                    return _options(notation, encodings)
    return None


def _options(notation: str, encodings: tuple[str, str] | None) -> str:
    names = "" if encodings is None else f" --input-encoding {encodings[0]} --output-encoding {encodings[1]}"
    return f"--notation {notation}{names}"
