"""The model card of an exported model: what it was trained on, its architecture, its accuracy, how to use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.evaluation_directory import METRICS
from mathpipe.train.run.run_record import RunRecord, tokenizers

_SETTINGS = (
    "encoder_layers", "decoder_layers", "encoder_width", "decoder_width", "encoder_heads", "decoder_heads", "feed_forward",
    "activation", "norm", "cross_query", "positions", "vocabulary",
)  # fmt: skip


def model_card(run: Path, record: RunRecord) -> str:
    """Markdown, with the header that model hubs read."""
    name = run.name
    parts = [
        f"---\nlibrary_name: mathpipe\ntags:\n- mathematics\n- {record.task}\n---",
        f"# {name}",
        _summary(record),
        "## Use\n\n```sh\nmathpipe import-model DIRECTORY --out runs/" + name + "\n"
        f"mathpipe generate --task {record.task} --n 10k --out data/{record.task}\n"
        f"mathpipe eval --run runs/{name} --data data/{record.task}\n```\n\n"
        f'In Python, `mathpipe.load_model("runs/{name}")` gives a torch module: `model(source_ids, target_ids)` are logits, and '
        "`model.source_tokens` and `model.target_tokens` name the token of each id.",
        "## Architecture\n\n" + _table(("setting", "value"), _settings(record)),
        "## Accuracy\n\n" + _accuracy(run),
        f"## Data\n\n```json\n{json.dumps(record.spec, indent=2)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(record: RunRecord) -> str:
    origin = (
        f"imported from {record.imported_from}"
        if record.imported_from is not None
        else f"trained for {counted(record.step, 'step')} of {counted(record.config.batch, 'example')}"
    )
    source, target = tokenizers(record)
    return (
        f"A transformer for the task `{record.task}` of mathpipe, {origin}. "
        f"Vocabularies: {source.name} for problems, {target.name} for solutions."
    )


def _settings(record: RunRecord) -> list[tuple[str, Any]]:
    config = record.config
    if config.backbone is not None:
        return list(config.backbone.model_dump(mode="json").items())
    return [(name, getattr(config.model, name)) for name in _SETTINGS]


def _accuracy(run: Path) -> str:
    """Every evaluation that the run holds."""
    rows = []
    for path in sorted((run / "evaluation").glob(f"*/{METRICS}")):
        metrics = json.loads(path.read_text(encoding="utf-8-sig"))
        rows.append((path.parent.name, f"{100 * metrics['accuracy']:.2f} %", f"{metrics['n']:,}"))
    if not rows:
        return "Not evaluated yet."
    return _table(("split and settings", "correct", "problems"), rows)


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
