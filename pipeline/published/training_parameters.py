"""The parameters of a training: those of --preset and --params, else those of the recommended preset; ``-S`` overrides either."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.parameter_files import read_sections
from mathpipe.pipeline.config.resolution import ParameterSource, parse_overrides, resolve, validate
from mathpipe.pipeline.published.recommended import Candidate, Device, candidates, describe, describe_none, recommend
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.run_record import read_record

# Parameters that change neither the model nor its optimisation: the expected accuracy holds with any value of them.
_NEUTRAL = {"seed", "threads", "eval_every", "log_every", "checkpoint_every", "keep_every", "valid_examples", "track"}


def names_parameters(source: ParameterSource) -> bool:
    """Whether a preset is named, or a file sets the section ``train``: then no preset is recommended."""
    return source.preset is not None or (source.file is not None and bool(read_sections(source.file)["train"]))


def named_config(source: ParameterSource) -> TrainConfig:
    """The configuration of a source that names parameters."""
    return validate(TrainConfig, resolve("train", source, {}), "train", source)


def recommended_config(
    source: ParameterSource, spec: Mapping[str, Any], rows: int, run_dir: Path, device: Device
) -> tuple[TrainConfig, list[str]]:
    """The configuration of the recommended preset, and lines that say what to expect of it.

    ``spec``, ``rows``: spec and number of training examples of the dataset.
    A run that exists keeps the parameters that it began with, also on another device.
    """
    choice, config = _existing_choice(source, spec, run_dir) or _new_choice(source, spec, device)
    if choice is None:
        return config, describe_none(str(spec["task"]), config.steps)
    changed = parse_overrides("train", source).keys() - _NEUTRAL
    return config, describe(choice, spec, rows, device, bool(changed))


def _new_choice(
    source: ParameterSource, spec: Mapping[str, Any], device: Device
) -> tuple[Candidate | None, TrainConfig]:
    choice = recommend(spec, device)
    try:
        return choice, _config(source, choice)
    except UserError as error:
        _config(source, None)  # an error of the overrides alone
        raise UserError(
            error.what,
            expected=error.expected,
            got=error.got,
            cause=f"the recommended preset {choice.preset if choice else None} does not go with what -S sets",
            next_step="set the other parameter too, or start from the defaults with --preset none",
        ) from None


def _existing_choice(
    source: ParameterSource, spec: Mapping[str, Any], run_dir: Path
) -> tuple[Candidate | None, TrainConfig] | None:
    """The recommended preset (or None: the defaults) with which the run of this directory began; None if there is none."""
    try:
        config = read_record(run_dir).config
    except (UserError, OSError):
        return None  # no run, or a damaged one, of which training says so
    for choice in (*([] if spec.get("source_digest") else candidates(str(spec["task"]))), None):
        try:
            if _config(source, choice) == config:
                return choice, config
        except UserError:
            continue
    return None


def _config(source: ParameterSource, choice: Candidate | None) -> TrainConfig:
    values = resolve("train", source, {}, recommended=None if choice is None else choice.train)
    return validate(TrainConfig, values, "train", source)
