"""The transfer matrix: different test specs have their own columns, and each cell is one evaluation."""

from __future__ import annotations

from typing import Any

from mathpipe.evaluate.compare.comparison_page import comparison_json, comparison_page
from mathpipe.evaluate.compare.evaluations import EvaluationSummary
from mathpipe.evaluate.compare.transfer_matrix import CELL_RULE, TransferMatrix, transfer_matrix


def summary(
    run: str, split: str, correct: int, of: int = 100, trained: str = "", tested: str = "", **more: Any
) -> EvaluationSummary:
    """An evaluation; ``trained``, ``tested``: their spectra; ``more``: of the tested spec, decoding, checkpoint, data."""
    decoding, checkpoint, data = more.pop("decoding", "greedy"), more.pop("checkpoint", "last"), more.pop("data", "d")
    accuracy = correct / of
    metrics = {
        "task": "eigenvalues",
        "decoding": decoding,
        "n": of,
        "accuracy": accuracy,
        "criterion": "error within 5 %",
        "accuracy_interval": [0.0, 1.0],
        "accuracy_published": accuracy,
        "accuracy_any": accuracy,
        "outcomes": {},
    }
    metadata = {"split": split, "checkpoint": checkpoint, "data": f"data/{data}", "dataset_digest": data}
    metadata["trained_spec"] = {"problems": {"spectrum": trained.split("+") if trained else []}}
    metadata["spec"] = {"seed": 0, "problems": {"spectrum": tested.split("+") if tested else [], **more}}
    name = f"{run}, {split}, {decoding}, {checkpoint}, {data}"
    return EvaluationSummary(f"{run}/evaluation/{name}", run, name, metadata, metrics, {})


def matrix(*evaluations: EvaluationSummary) -> TransferMatrix:
    result = transfer_matrix(list(evaluations))
    assert result is not None
    return result


def test_splits_of_different_specs_have_different_columns() -> None:
    mixed = {"trained": "semicircle+laplace", "tested": "semicircle+laplace"}
    transfer = matrix(
        summary("a", "test", 50, max_dim=3, **mixed),
        summary("a", "test-far", 20, trained="semicircle+laplace", tested="laplace", max_dim=3),
        summary("a", "test-large", 10, max_dim=4, **mixed),
    )
    assert transfer.rows == ["semicircle+laplace"]
    assert transfer.cols == ["semicircle+laplace, test", "laplace", "semicircle+laplace, test-large"]
    assert transfer.accuracy == [[0.5, 0.2, 0.1]]


def test_splits_and_datasets_of_one_spec_share_a_column() -> None:
    transfer = matrix(
        summary("a", "test", 50, trained="laplace", tested="laplace", data="x", noise=0.0),
        summary("a", "test-semicircle", 20, trained="laplace", tested="semicircle", data="x", noise=0.0),
        summary("b", "test", 60, trained="semicircle", tested="semicircle", data="y"),
        summary("b", "test-laplace", 30, trained="semicircle", tested="laplace", data="y"),
    )
    assert (transfer.rows, transfer.cols) == (["laplace", "semicircle"], ["laplace", "semicircle"])
    assert transfer.accuracy == [[0.5, 0.2], [0.3, 0.6]]
    assert transfer.same_settings


def test_training_split_has_its_own_column() -> None:
    same = {"trained": "laplace", "tested": "laplace"}
    assert matrix(summary("a", "test", 5, **same), summary("a", "train", 9, **same)).cols == [
        "laplace, test",
        "laplace, train",
    ]


def test_cell_shows_the_best_evaluation_by_the_rule() -> None:
    others = [
        summary("a", "test", 90, 100, decoding="beam 5"),
        summary("a", "test", 80, 100, checkpoint="best"),
        summary("a", "test", 30, 50),
    ]
    chosen = summary("a", "test", 70, 100)
    assert matrix(*others, chosen, summary("a", "test", 60, 100), summary("a", "valid", 1)).cells[0][0] is chosen
    most = summary("a", "test", 10, 101, decoding="sampling")
    transfer = matrix(chosen, most, summary("a", "valid", 1))
    assert transfer.cells[0][0] is most and not transfer.same_settings
    assert transfer_matrix([*others, chosen]) is None


def test_repeated_row_and_column_names_are_disambiguated() -> None:
    transfer = matrix(
        summary("a", "test", 1, trained="laplace", max_dim=3, data="small"),
        summary("b", "test", 2, trained="laplace", max_dim=5, data="large"),
        summary("c", "valid", 3, max_dim=5, data="large"),
    )
    assert transfer.rows == ["laplace, a", "laplace, b", "c"]
    assert transfer.cols == ["test, small", "test, large", "valid"]
    assert transfer.accuracy == [[0.01, None, None], [None, 0.02, None], [None, None, 0.03]]


def test_page_states_the_rule_and_the_evaluation_of_each_cell() -> None:
    evaluations = [
        summary("a", "test", 70),
        summary("a", "test", 60, decoding="beam 5"),
        summary("a", "valid", 1, decoding="beam 2"),
    ]
    page = comparison_page(evaluations)
    assert CELL_RULE in page and "Decoding settings differ between cells" in page and "70.0" in page
    plain = comparison_json(evaluations)
    assert plain["train_by_test"] == {"a": {"test": 0.7, "valid": 0.01}}
    assert plain["cells"] == [["a", "test", evaluations[0].directory], ["a", "valid", evaluations[2].directory]]
    assert "Not all cells" not in comparison_page([summary("a", "test", 1), summary("a", "valid", 1)])


def test_evaluations_without_a_spec_are_named_by_split() -> None:
    first, second = summary("a", "test", 1), summary("a", "published", 2)
    for one in (first, second):
        one.metadata.update(spec=None, trained_spec=None)
    assert matrix(first, second).cols == ["test", "published"]
    assert "published" in comparison_page([first, second])


def test_page_lists_differences_between_specs() -> None:
    page = comparison_page(
        [summary("a", "test", 1, max_dim=3, rows=2), summary("a", "test-large", 2, max_dim=4, rows=2)]
    )
    assert "<td class=text>max_dim 3</td>" in page and "<td class=text>max_dim 4</td>" in page
