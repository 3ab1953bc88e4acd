"""The table of tolerances in the summary of an evaluation."""

from mathpipe.evaluate.analyze.evaluation_data import ERROR_MEASURES
from mathpipe.evaluate.analyze.summary import summary_text

TOLERANCES = ("0.05", "0.02", "0.01", "0.005")


def test_the_columns_of_the_tolerance_table_are_aligned() -> None:
    row = dict.fromkeys(TOLERANCES, 1.0)
    proportion = {"count": 10, "proportion": 1.0, "interval": [0.7, 1.0]}
    metrics = {
        "task": "add",
        "decoding": "greedy",
        "hypotheses": 1,
        "n": 10,
        "accuracy": 1.0,
        "accuracy_published": 1.0,
        "accuracy_interval": [0.7, 1.0],
        "criterion": "error within 5 %",
        "by_tolerance": dict.fromkeys(ERROR_MEASURES, row),
        "reference": row,
        "best_representable": row,
        "baselines": {"best_constant": "zeros", "constant": row, "copy": row},
        "outcomes": {"exact": proportion},
    }
    lines = summary_text(metrics, []).splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("% of problems"))
    table = lines[first : lines.index("", first)]
    assert len(table) == 1 + len(ERROR_MEASURES) + 4 and any("error_componentwise within" in line for line in table)
    assert len({len(line) for line in table}) == 1
