"""A published model as a run: its record and its weights, written beside the run's directory and renamed.

A killed import leaves no run, and nothing that a second one would stumble over.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_directories import new_directory, require_free
from mathpipe.datasets.io.atomic_files import write_atomically, write_json
from mathpipe.train.model.joint_vocabulary import published_ids, published_tokens
from mathpipe.train.published.checkpoint_file import Weights
from mathpipe.train.published.published_weights import PublishedWeights
from mathpipe.train.run.checkpoint import build_model, save_checkpoint, vocabulary_of
from mathpipe.train.run.run_record import CHECKPOINT, CHECKPOINTS, PARAMS, RECORD, RunRecord, read_record, tokenizers


@dataclass(frozen=True)
class PublishedVocabulary:
    """``input_encoding``, ``output_encoding``: of matrices, else None; ``task``: of the authors' model of this size."""

    size: int
    name: str
    input_encoding: str | None
    output_encoding: str | None
    task: str


PUBLISHED_VOCABULARIES = (
    PublishedVocabulary(91, "expressions", None, None, "integration-bwd"),
    PublishedVocabulary(338, "P10", "P10", "P10", "transpose"),
    PublishedVocabulary(1_328, "P1000", "P1000", "P1000", "transpose"),
    PublishedVocabulary(2_329, "B1999", "B1999", "B1999", "add"),
    PublishedVocabulary(29_128, "FP15", "FP15", "FP15", "eigenvalues"),
    PublishedVocabulary(30_329, "FP15 in, P1000 out", "FP15", "P1000", "inverse"),
)


def published_vocabulary(size: int) -> PublishedVocabulary | None:
    """The published vocabulary of this size, or None."""
    return next((each for each in PUBLISHED_VOCABULARIES if each.size == size), None)


def unknown_vocabulary(path: Path, size: int, named: str | None = None) -> UserError:
    """The error for a vocabulary of unknown tokens. ``named``: size and encodings that were expected besides."""
    sizes = ", ".join(f"{each.size:,} ({each.name})" for each in PUBLISHED_VOCABULARIES)
    return UserError(
        f"the tokens of {path} are unknown",
        expected=f"{named}; published vocabularies have {sizes} tokens" if named else f"{sizes} tokens",
        got=f"{size:,} tokens",
        cause="other encodings or another precision" if named else "the model has a vocabulary of its own",
        next_step="name the encodings with --input-encoding and --output-encoding, or list the tokens with --vocabulary FILE",
    )


def published_state(path: Path, weights: PublishedWeights, record: RunRecord) -> Weights:
    """The weights for the model of this record; UserError if its vocabulary is not that of the weights."""
    source, target = tokenizers(record)
    joint, size = vocabulary_of(record, source, target), weights.decoder.vocabulary_size
    if joint is None:
        raise ValueError("a published model has a joint vocabulary")
    listed = record.config.model.tokens
    if joint.size != size or (listed is None and not target.published_start):
        same = record.input_encoding == record.output_encoding
        encodings = record.input_encoding if same else f"{record.input_encoding} in, {record.output_encoding} out"
        named = f"{joint.size:,} tokens ({encodings}, {record.task})" if target.published_start else None
        raise unknown_vocabulary(path, size, named)
    published = listed or published_tokens(joint, target.published_start)
    return weights.ordered_state(published_ids(joint.tokens, published))


def write_run(directory: Path, record: RunRecord, weights: Weights, params: str = "") -> bool:
    """Write a run of these weights; False if ``directory`` holds it already. ``params``: parameters that train it further.

    UserError if the directory holds anything else, or the weights do not fit.
    """
    if (directory / RECORD).exists() and read_record(directory) == record:
        return False
    require_free(directory)
    _load(record, weights)
    checkpoint: dict[str, Any] = {
        "record": record.to_dict(),
        "state": {"step": record.step, "outcome": "imported"},
        "model": weights,
    }
    with new_directory(directory) as temporary:
        save_checkpoint(temporary / CHECKPOINT, checkpoint)
        (temporary / CHECKPOINTS).mkdir()
        if params:
            write_atomically(temporary / PARAMS, [params.encode()])
        write_json(temporary / RECORD, record.to_dict())
    return True


def _load(record: RunRecord, weights: Weights) -> None:
    """Load the weights once as a check."""
    try:
        build_model(record).load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            "the weights do not fit the model",
            expected=f"the weights of the model {asdict(record)['config'].model!r}"[:300],
            got=str(error).splitlines()[-1].strip()[:200],
            cause="the file is damaged, or its record was changed",
        ) from None
