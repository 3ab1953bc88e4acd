"""The matrix of training and testing: unlike evaluations stand in cells of their own, and none is added to another."""

from __future__ import annotations

from typing import Any

from mathpipe.evaluate.compare.comparison_page import comparison_json, comparison_page
from mathpipe.evaluate.compare.evaluations import EvaluationSummary
from mathpipe.evaluate.compare.transfer_matrix import CELL_RULE, TransferMatrix, transfer_matrix


def told(
    run: str, split: str, right: int, of: int = 100, trained: str = "", tested: str = "", **more: Any
) -> EvaluationSummary:
    """An evaluation; ``trained``, ``tested``: their spectra; ``more``: of the tested spec, decoding, checkpoint, data."""
    decoding, checkpoint, data = more.pop("decoding", "greedy"), more.pop("checkpoint", "last"), more.pop("data", "d")
    accuracy = right / of
    metrics = {
        "task": "eigenvalues",
        "decoding": decoding,
        "n": of,
        "accuracy": accuracy,
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


def matrix(*all_told: EvaluationSummary) -> TransferMatrix:
    found = transfer_matrix(list(all_told))
    assert found is not None
    return found


def test_splits_of_unlike_specs_stand_apart_though_their_spectrum_is_one() -> None:
    mixed = {"trained": "semicircle+laplace", "tested": "semicircle+laplace"}
    found = matrix(
        told("a", "test", 50, max_dim=3, **mixed),
        told("a", "test-far", 20, trained="semicircle+laplace", tested="laplace", max_dim=3),
        told("a", "test-large", 10, max_dim=4, **mixed),
    )
    assert found.rows == ["semicircle+laplace"]
    assert found.cols == ["semicircle+laplace, test", "laplace", "semicircle+laplace, test-large"]
    assert found.accuracy == [[0.5, 0.2, 0.1]]


def test_one_spec_is_one_column_whatever_the_split_dataset_or_seed() -> None:
    found = matrix(
        told("a", "test", 50, trained="laplace", tested="laplace", data="x", noise=0.0),
        told("a", "test-semicircle", 20, trained="laplace", tested="semicircle", data="x", noise=0.0),
        told("b", "test", 60, trained="semicircle", tested="semicircle", data="y"),
        told("b", "test-laplace", 30, trained="semicircle", tested="laplace", data="y"),
    )
    assert (found.rows, found.cols) == (["laplace", "semicircle"], ["laplace", "semicircle"])
    assert found.accuracy == [[0.5, 0.2], [0.3, 0.6]]
    assert found.same_settings


def test_rows_that_were_trained_on_are_no_test() -> None:
    same = {"trained": "laplace", "tested": "laplace"}
    assert matrix(told("a", "test", 5, **same), told("a", "train", 9, **same)).cols == [
        "laplace, test",
        "laplace, train",
    ]


def test_one_evaluation_a_cell_by_the_rule() -> None:
    others = [
        told("a", "test", 90, 100, decoding="beam 5"),
        told("a", "test", 80, 100, checkpoint="best"),
        told("a", "test", 30, 50),
    ]
    chosen = told("a", "test", 70, 100)
    assert matrix(*others, chosen, told("a", "test", 60, 100), told("a", "valid", 1)).cells[0][0] is chosen
    most = told("a", "test", 10, 101, decoding="sampling")
    found = matrix(chosen, most, told("a", "valid", 1))
    assert found.cells[0][0] is most and not found.same_settings
    assert transfer_matrix([*others, chosen]) is None


def test_runs_of_one_spectrum_and_splits_of_one_name_are_named_apart() -> None:
    found = matrix(
        told("a", "test", 1, trained="laplace", max_dim=3, data="small"),
        told("b", "test", 2, trained="laplace", max_dim=5, data="large"),
        told("c", "valid", 3, max_dim=5, data="large"),
    )
    assert found.rows == ["laplace, a", "laplace, b", "c"]
    assert found.cols == ["test, small", "test, large", "valid"]
    assert found.accuracy == [[0.01, None, None], [None, 0.02, None], [None, None, 0.03]]


def test_the_page_says_the_rule_and_what_stands_in_each_cell() -> None:
    all_told = [
        told("a", "test", 70),
        told("a", "test", 60, decoding="beam 5"),
        told("a", "valid", 1, decoding="beam 2"),
    ]
    page = comparison_page(all_told)
    assert CELL_RULE in page and "Decoding settings differ between cells" in page and "70.0" in page
    plain = comparison_json(all_told)
    assert plain["train_by_test"] == {"a": {"test": 0.7, "valid": 0.01}}
    assert plain["cells"] == [["a", "test", all_told[0].directory], ["a", "valid", all_told[2].directory]]
    assert "Not all cells" not in comparison_page([told("a", "test", 1), told("a", "valid", 1)])


def test_evaluations_without_a_spec_are_told_by_their_splits() -> None:
    first, second = told("a", "test", 1), told("a", "published", 2)
    for one in (first, second):
        one.metadata.update(spec=None, trained_spec=None)
    assert matrix(first, second).cols == ["test", "published"]
    assert "published" in comparison_page([first, second])


def test_the_page_says_what_differs_in_the_specs() -> None:
    page = comparison_page([told("a", "test", 1, max_dim=3, rows=2), told("a", "test-large", 2, max_dim=4, rows=2)])
    assert "<td class=text>max_dim 3</td>" in page and "<td class=text>max_dim 4</td>" in page
