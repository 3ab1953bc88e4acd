"""Each task's table of predictions: right, equivalent, wrong and malformed, scored from encoded text.

The papers' checker of eigenvectors accepts an answer of zeros, values times 9 with vectors times 3, trailing tokens and
vectors that are not orthogonal; here all are wrong. A case is a matrix, which is encoded, or a text of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.matrix_verifier import ScoredMatrices
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS

P1000 = MatrixTokenizer.named("P1000")
STOP = " <s>"
EXACT, WITHIN, WRONG, SHAPE, MALFORMED, UNTERMINATED = MATRIX_OUTCOMES
H = 0.5**0.5
Matrix = list[list[float]]


@dataclass(frozen=True)
class Problem:
    """A problem, its written solution, what else is right, what is wrong, and answers of a wrong shape."""

    task: str
    problem: Matrix
    solution: Matrix
    right: dict[str, Matrix] = field(default_factory=dict)
    wrong: dict[str, Matrix] = field(default_factory=dict)
    shapes: dict[str, Matrix] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.task}-{len(self.problem)}x{len(self.problem[0])}"


# [l; V] of [2 1; 1 2]: (1, -1) / sqrt 2 for 1 and (1, 1) / sqrt 2 for 3
EIGENVECTORS: Matrix = [[1, 3], [H, H], [-H, H]]
TABLE = [
    Problem(
        "laplacian-eigenvalues",
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]],  # the path of three nodes
        [[0], [1], [3]],
        right={"3 % off": [[0.1], [1], [3]]},
        wrong={
            "descending": [[3], [1], [0]],
            "of the adjacency matrix": [[-1.414], [0], [1.414]],
            "one twice": [[1], [1], [3]],
        },
        shapes={"a row": [[0, 1, 3]], "without 0": [[1], [3]]},
    ),
    Problem(
        "polynomial-roots",
        [[1, -3, 2]],
        [[2, 0], [1, 0]],
        right={"another order": [[1, 0], [2, 0]], "4 % off": [[2.08, 0], [1, 0.04]]},
        wrong={
            "one twice": [[2, 0], [2, 0]],
            "signs": [[-2, 0], [-1, 0]],
            "complex": [[2, 0], [1, 0.06]],
            "6 % off": [[2, 0], [1.06, 0]],
        },
        shapes={"real parts": [[2], [1]], "one": [[2, 0]], "a row": [[2, 0, 1, 0]]},
    ),
    Problem(
        "polynomial-roots",
        [[1, 0, 1]],
        [[0, 1], [0, -1]],
        right={"conjugates": [[0, -1], [0, 1]]},
        wrong={"one twice": [[0, 1], [0, 1]], "real": [[1, 0], [-1, 0]], "their squares": [[-1, 0], [-1, 0]]},
    ),
    Problem(
        "matvec",
        [[1, 2, 5], [3, 4, 6]],
        [[23], [34]],  # A^T v = (1 5 + 3 6, 2 5 + 4 6)
        right={"4.9 % off": [[23], [36.7]]},
        wrong={"5.3 % off": [[23], [37]], "A v": [[17], [39]], "order": [[34], [23]]},
        shapes={"a row": [[23, 34]]},
    ),
    Problem(
        "matmul",
        [[1, 2, 5, 6], [3, 4, 7, 8]],
        [[26, 30], [38, 44]],  # A^T B
        right={"0.7 % off": [[26, 30], [38, 45]]},
        wrong={"A B": [[19, 22], [43, 50]], "B^T A": [[26, 38], [30, 44]], "A + B": [[6, 8], [10, 12]]},
        shapes={"[A B]": [[1, 2, 5, 6], [3, 4, 7, 8]]},
    ),
    Problem(
        "eigenvalues",
        [[2, 1], [1, 2]],
        [[3], [1]],
        right={"4 % off": [[3.1], [0.95]]},
        wrong={"ascending": [[1], [3]], "signs": [[3], [-1]], "one twice": [[3], [3]]},
        shapes={"a row": [[3, 1]], "one": [[3]]},
    ),
    Problem(
        "eigenvectors",
        [[2, 1], [1, 2]],
        EIGENVECTORS,
        right={
            "other signs": [[1, 3], [-H, -H], [H, -H]],
            "one other sign": [[1, 3], [-H, H], [H, H]],
            "other order of pairs": [[3, 1], [H, H], [H, -H]],
            "0.5 % off": [[1.01, 3.01], [H, H], [-H, H]],
            "turned by 1 degree": [[1, 3], [0.7194, 0.6947], [-0.6947, 0.7194]],
        },
        wrong={
            "values exchanged": [[3, 1], [H, H], [-H, H]],
            "vectors as rows": [[1, 3], [H, -H], [H, H]],
            "values times 9, vectors times 3": [[9, 27], [3 * H, 3 * H], [-3 * H, 3 * H]],
            "values times 1.21, vectors times 1.1": [[1.21, 3.63], [1.1 * H, 1.1 * H], [-1.1 * H, 1.1 * H]],
            "zero vectors": [[1, 3], [0, 0], [0, 0]],
            "zero values": [[0, 0], [H, H], [-H, H]],
            "one vector twice": [[3, 3], [H, H], [H, H]],
            "not orthogonal": [[1, 3], [H, 0.8], [-H, 0.6]],
            "not of length 1": [[0.5, 3], [0.5, H], [-0.5, H]],
            "turned by 10 degrees": [[1, 3], [0.8192, 0.5736], [-0.5736, 0.8192]],
        },
        shapes={"transposed": [[1, H, -H], [3, H, H]], "no values": [[H, H], [-H, H]]},
    ),
    Problem(
        "eigenvectors",
        [[2, 0, 0], [0, 2, 0], [0, 0, 5]],  # 2 twice: any orthonormal basis of the plane
        [[2, 2, 5], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        right={
            "another basis": [[2, 2, 5], [0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]],
            "another basis, order and sign": [[5, 2, 2], [0, 0.8, 0.6], [0, -0.6, 0.8], [-1, 0, 0]],
        },
        wrong={
            "skew basis": [[2, 2, 5], [1, 0.6, 0], [0, 0.8, 0], [0, 0, 1]],
            "out of the plane": [[2, 2, 5], [0.6, 0, -0.8], [0, 1, 0], [0.8, 0, 0.6]],
        },
    ),
    Problem(
        "inverse",
        [[1, 2], [3, 4]],
        [[-2, 1], [1.5, -0.5]],
        right={"0.6 % off": [[-2, 1], [1.5, -0.502]]},
        wrong={"transposed": [[-2, 1.5], [1, -0.5]], "A": [[1, 2], [3, 4]], "10 % off": [[-2, 1], [1.5, -0.55]]},
        shapes={"a row": [[-2, 1, 1.5, -0.5]]},
    ),
    Problem(
        "symmetric-inverse",
        [[2, 1], [1, 2]],
        [[0.667, -0.333], [-0.333, 0.667]],
        right={
            "in one digit more": [[0.667, -0.334], [-0.334, 0.667]],
            "not symmetric": [[0.667, -0.34], [-0.333, 0.667]],
        },
        wrong={"signs": [[0.667, 0.333], [0.333, 0.667]], "A": [[2, 1], [1, 2]]},
        shapes={"one row": [[0.667, -0.333]]},
    ),
    Problem(
        "singular-values",
        [[0, 3, 0], [-4, 0, 0]],
        [[4], [3]],
        right={"4 % off": [[4.1], [2.82]]},
        wrong={"ascending": [[3], [4]], "signs": [[-4], [3]], "eigenvalues of A A^T": [[16], [9]]},
        shapes={"three": [[4], [3], [0]], "a row": [[4, 3]]},
    ),
    Problem(
        "svd",
        [[3, 0], [0, -2]],
        [[3, 2], [1, 0], [0, 1], [1, 0], [0, -1]],
        right={
            "common signs": [[3, 2], [-1, 0], [0, -1], [-1, 0], [0, 1]],
            "one common sign": [[3, 2], [1, 0], [0, -1], [1, 0], [0, 1]],
            "other order of triplets": [[2, 3], [0, 1], [1, 0], [0, 1], [-1, 0]],
        },
        wrong={
            "sign of V alone": [[3, 2], [1, 0], [0, 1], [1, 0], [0, 1]],
            "negative value": [[3, -2], [1, 0], [0, 1], [1, 0], [0, -1]],
            "values times 9, vectors times 3": [[27, 18], [3, 0], [0, 3], [3, 0], [0, -3]],
            "U times 2, V halved": [[3, 2], [2, 0], [0, 2], [0.5, 0], [0, -0.5]],
            "vectors of zeros": [[3, 2], [0, 0], [0, 0], [0, 0], [0, 0]],
            "order of values alone": [[2, 3], [1, 0], [0, 1], [1, 0], [0, -1]],
            "one triplet twice": [[3, 3], [1, 1], [0, 0], [1, 1], [0, 0]],
        },
        shapes={"no V": [[3, 2], [1, 0], [0, 1]]},
    ),
    Problem(
        "svd",
        [[3], [4]],  # s = 5; U^T A V = 3 for U = e_1, without a residual there
        [[5], [0.6], [0.8], [1]],
        right={"other sign": [[5], [-0.6], [-0.8], [-1]]},
        wrong={"a vector out of the range": [[3], [1], [0], [1]], "the rest of A": [[0], [0.8], [-0.6], [1]]},
        shapes={"padded": [[5, 0], [0.6, 0], [0.8, 0], [1, 0]]},
    ),
    Problem(
        "svd",
        [[3, 4]],
        [[5], [1], [0.6], [0.8]],
        right={"other sign": [[5], [-1], [-0.6], [-0.8]]},
        wrong={"a vector out of the range": [[3], [1], [1], [0]], "U below V": [[5], [0.6], [0.8], [1]]},
        shapes={"a row": [[5, 1, 0.6, 0.8]]},
    ),
    Problem(
        "svd",
        [[2, 0, 0], [0, 2, 0]],  # 2 twice: any basis, the same for U and V
        [[2, 2], [1, 0], [0, 1], [1, 0], [0, 1], [0, 0]],
        right={"another basis": [[2, 2], [0.6, -0.8], [0.8, 0.6], [0.6, -0.8], [0.8, 0.6], [0, 0]]},
        wrong={
            "another basis for U alone": [[2, 2], [0.6, -0.8], [0.8, 0.6], [1, 0], [0, 1], [0, 0]],
            "V into the kernel": [[2, 0], [1, 0], [0, 1], [1, 0], [0, 0], [0, 1]],
        },
    ),
    Problem(
        "determinant",
        [[1, 2], [3, 4]],
        [[-2]],
        right={"4.5 % off": [[-2.09]]},
        wrong={"permanent": [[10]], "5.5 % off": [[-2.11]], "trace": [[5]]},
        shapes={"twice": [[-2, -2]]},
    ),
    Problem(
        "rank",
        [[1, 2], [2, 4]],
        [[1]],
        wrong={"full": [[2]], "nearly": [[1.01]], "minus": [[-1]]},
        shapes={"twice": [[1, 1]]},
    ),
    Problem("rank", [[100, 0], [0, 1]], [[2]], wrong={"2 % off": [[2.04]], "one less": [[1]]}),
    Problem("rank", [[0, 0], [0, 0]], [[0]], wrong={"one": [[1]], "small": [[0.01]]}),
    Problem(
        "solve",
        [[2, 1, 5], [1, 3, 10]],
        [[1], [3]],  # 2 + 3 = 5, 1 + 9 = 10
        right={"1 % off": [[1.01], [3.01]]},
        wrong={"b": [[5], [10]], "order": [[3], [1]], "A b": [[20], [35]]},
        shapes={"a row": [[1, 3]]},
    ),
    Problem(
        "solve",
        [[1, 1, 2], [1, 1.001, 2]],  # nearly singular: the residual decides, not the distance to the reference
        [[2], [0]],
        right={"far away along the nearly lost direction": [[1.9], [0.1]]},
        wrong={"off that direction": [[2.2], [0]]},
    ),
    Problem(
        "pseudo-inverse",
        [[1, 0], [0, 2], [0, 0]],
        [[1, 0, 0], [0, 0.5, 0]],
        right={"1 % off": [[1.01, 0, 0], [0, 0.5, 0]]},
        wrong={
            "another left inverse": [[1, 0, 0.7], [0, 0.5, 0.3]],  # H A = I, but A H is not symmetric
            "A": [[1, 0, 0], [0, 2, 0]],
            "part of it": [[1, 0, 0], [0, 0, 0]],
        },
        shapes={"transposed": [[1, 0], [0, 0.5], [0, 0]]},
    ),
    Problem(
        "pseudo-inverse",
        [[1, 0], [0, 0]],  # of rank 1
        [[1, 0], [0, 0]],
        wrong={
            "more than A": [[1, 0], [0, 0.5]],  # A H A = A, but H A H is not H
            "skew": [[1, 0.5], [0, 0]],
            "skew the other way": [[1, 0], [0.5, 0]],
        },
    ),
    Problem(
        "qr",
        [[3, 1], [4, 2]],
        [[0.6, -0.8], [0.8, 0.6], [5, 2.2], [0, 0.4]],
        right={
            "other signs": [[-0.6, 0.8], [-0.8, -0.6], [-5, -2.2], [0, -0.4]],
            "one other sign": [[0.6, 0.8], [0.8, -0.6], [5, 2.2], [0, -0.4]],
        },
        wrong={
            "sign of Q alone": [[-0.6, -0.8], [-0.8, 0.6], [5, 2.2], [0, 0.4]],
            "I over A": [[1, 0], [0, 1], [3, 1], [4, 2]],
            "A over I": [[3, 1], [4, 2], [1, 0], [0, 1]],
            "Q times 2, R halved": [[1.2, -1.6], [1.6, 1.2], [2.5, 1.1], [0, 0.2]],
            "R over Q": [[5, 2.2], [0, 0.4], [0.6, -0.8], [0.8, 0.6]],
        },
        shapes={"side by side": [[0.6, -0.8, 5, 2.2], [0.8, 0.6, 0, 0.4]]},
    ),
    Problem(
        "qr",
        [[3], [0], [4]],
        [[0.6], [0], [0.8], [5]],
        right={"other sign": [[-0.6], [0], [-0.8], [-5]]},
        wrong={"Q times 5": [[3], [0], [4], [1]]},
        shapes={"no R": [[0.6], [0], [0.8]]},
    ),
    Problem(
        "cholesky",
        [[4, 2], [2, 10]],
        [[2, 0], [1, 3]],
        right={"other signs": [[-2, 0], [-1, -3]], "one other sign": [[2, 0], [1, -3]]},
        wrong={
            "upper": [[2, 1], [0, 3]],
            "the symmetric root": [[1.937, 0.498], [0.498, 3.123]],  # H H = A, but H is not triangular
            "A": [[4, 2], [2, 10]],
        },
        shapes={"a row": [[2, 0, 1, 3]]},
    ),
    Problem(
        "expm",
        [[0, 1], [0, 0]],
        [[1, 1], [0, 1]],
        right={"3 % off": [[1.03, 1.03], [0, 1.03]]},
        wrong={"entry by entry": [[1, 2.72], [1, 1]], "transposed": [[1, 0], [1, 1]], "identity": [[1, 0], [0, 1]]},
        shapes={"a row": [[1, 1]]},
    ),
]


def encode(matrix: Any) -> str:
    """The matrix as the output encoding writes it, with the end."""
    tokens, _ = P1000.encode(Matrices.from_list([matrix]))
    return " ".join(P1000.ids_to_tokens(tokens[0])) + STOP


def score_predictions(problem: Problem, predictions: list[str]) -> ScoredMatrices:
    rows = [P1000.tokens_to_ids(text.split()) for text in predictions]
    tokens = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    n = len(predictions)
    examples = MatrixExamples(
        np.arange(n), Matrices.from_list([problem.problem] * n), Matrices.from_list([problem.solution] * n)
    )
    return MatrixAdapter(MATRIX_TASKS[problem.task]).score(P1000, examples, Hypotheses(tokens, np.zeros(n)))


def cases(problem: Problem) -> list[tuple[str, str, str]]:
    """(name, encoded prediction, outcome): the cases of the table, and those that every task has."""
    x = np.array(problem.solution, dtype=float)
    encoded_solution = encode(problem.solution)
    table = [("the solution", encoded_solution, EXACT)]
    table += [(name, encode(matrix), WITHIN) for name, matrix in problem.right.items()]
    table += [(name, encode(matrix), WRONG) for name, matrix in problem.wrong.items()]
    table += [(name, encode(matrix), SHAPE) for name, matrix in problem.shapes.items()]
    if x.any():
        scaled = {"zeros": 0 * x, "times 9": 9 * x, "times 1.2": 1.2 * x, "times 0.8": 0.8 * x, "times 1e90": 1e90 * x}
        table += [(name, encode(matrix), WRONG) for name, matrix in scaled.items()]
    table += [
        ("a column more", encode(np.column_stack([x, x[:, :1]])), SHAPE),
        ("a row more", encode(np.vstack([x, x[:1]])), SHAPE),
        ("a number after it", encoded_solution.replace(STOP, " + 100 E-2 <s>"), MALFORMED),
        ("itself after it", encoded_solution.replace(STOP, " ") + encoded_solution, MALFORMED),
        ("a token after it", encoded_solution.replace(STOP, " E0 <s>"), MALFORMED),
        ("a number missing", " ".join(encoded_solution.split()[:-4]) + STOP, MALFORMED),
        ("a token missing", " ".join(encoded_solution.split()[:-2]) + STOP, MALFORMED),
        ("dimensions alone", " ".join(encoded_solution.split()[:2]) + STOP, MALFORMED),
        ("no dimensions", " ".join(encoded_solution.split()[2:]), MALFORMED),
        ("nothing", STOP, MALFORMED),
        ("no end", encoded_solution.removesuffix(STOP), UNTERMINATED),
        ("no end, and more", encoded_solution.replace(STOP, " + 100 E-2"), UNTERMINATED),
    ]
    return table


@pytest.mark.parametrize("problem", TABLE, ids=lambda problem: problem.id)
def test_outcome_table(problem: Problem) -> None:
    table = cases(problem)
    scored = score_predictions(problem, [prediction for _, prediction, _ in table])
    outcomes = {name: MATRIX_OUTCOMES[k] for (name, _, _), k in zip(table, scored.outcome, strict=True)}
    assert outcomes == {name: outcome for name, _, outcome in table}
    assert scored.passed.tolist() == [outcome in (EXACT, WITHIN) for _, _, outcome in table]


def test_every_task_has_a_table() -> None:
    others = {
        "transpose",
        "add",
        "cotraining",
    }  # tests/evaluate/score/test_matrix_verifier.py; cotraining uses the verifiers of the others
    assert {problem.task for problem in TABLE} == set(MATRIX_TASKS) - others


@pytest.mark.parametrize("problem", TABLE, ids=lambda problem: problem.id)
def test_table_solutions_match_the_task(problem: Problem) -> None:
    """They were written by hand; where vectors are free the answer of the task is right but may differ."""
    x = MATRIX_TASKS[problem.task].solve(Matrices.from_list([problem.problem])).solutions
    if problem.problem == [[1, 0], [0, 0]]:
        return  # the pseudo-inverse of a matrix without full rank: verified, but not among the problems
    scored = score_predictions(problem, [encode(x[0])])
    assert MATRIX_OUTCOMES[scored.outcome[0]] in (EXACT, WITHIN)


def test_orthogonality_is_measured() -> None:
    problem = next(p for p in TABLE if p.task == "eigenvectors")
    scored = score_predictions(problem, [encode([[1, 3], [1, 0], [0, 1]]), encode([[9, 27], [3, 0], [0, 3]])])
    np.testing.assert_allclose(scored.errors["orthogonality"], [0, 8])
    assert scored.errors["error_l1"][0] == pytest.approx((1 + 1 + 1 + 1) / 4)  # V^T A V - diag(l) = [1 1; 1 -1]
