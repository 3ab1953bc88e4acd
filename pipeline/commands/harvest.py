"""``mathpipe harvest``: the right answers of evaluations as a dataset."""

from __future__ import annotations

import click

from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import LocalPath, Location
from mathpipe.pipeline.console import log, quiet_option
from mathpipe.pipeline.harvesting import describe
from mathpipe.pipeline.harvesting import harvest as harvest_run


@click.command("harvest")
@click.argument("run", type=LocalPath())
@click.option("--out", type=Location(), required=True, help="Directory or fsspec URL of the dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@external_task_option
@quiet_option
def harvest(run: str, out: str, as_json: bool) -> None:
    """Write the verified right answers of RUN, of any rank, as a dataset that `mathpipe train` reads.

    RUN is a run with evaluations, the directory of one evaluation, or its predictions.parquet. Every answer stays in the split of
    its problem, equal pairs are stored once, and _origin/ names evaluation, row and rank of each. Evaluate the
    training split first.

    \b
    Example:
      mathpipe eval --run runs/integration-bwd --split train --limit 100k --beam 10
      mathpipe harvest runs/integration-bwd --out data/harvest
      mathpipe train --data data/harvest --run runs/second-round
    """
    result = harvest_run(run, out)
    for name in result.skipped:
        log(f"{name}: left out, because it evaluates no train, valid or test split")
    if not result.rows.get("train"):
        log("no training examples: evaluate the training split, with `mathpipe eval --split train`")
    click.echo(describe(result, out, as_json=as_json))
