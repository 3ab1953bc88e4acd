"""Import of matrices: nested lists of decimals and fractions, LaTeX, or tokens of a number encoding.

Values are stored as float32, and never rounded: a problem on the 3-digit decimal grid is read back as that decimal. An answer is
right if it passes the task's error test at 5 %, or is the recomputed solution rounded to 3 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples, snap_to_grid
from mathpipe.datasets.io.import_records import Fault, Fields
from mathpipe.datasets.io.matrix_text import parse_matrix
from mathpipe.datasets.tokenizers.decimal_grid import LARGEST
from mathpipe.datasets.tokenizers.matrix_tokenizer import MAX_DIMENSION, TASK_TOKENS, MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS
from mathpipe.datasets.tokenizers.tokenizer import DecodeStatus
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.curate.import_parts.import_part import (
    OUT_OF_RANGE,
    SIDES,
    WRONG_SHAPE,
    Checked,
    GradedAnswers,
    Hashes,
    ImportPart,
    Mask,
    outcome_names,
    refuse_alphabet,
)
from mathpipe.generate.curate.import_parts.token_part import malformed, read_token_ids
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.matrix_spec import DIMENSIONS
from mathpipe.generate.splits import problem_hash
from mathpipe.generate.tasks.matrix_task import WRONG_SHAPE as WRONG_SHAPE_OUTCOME
from mathpipe.generate.tasks.matrix_task import MatrixTask, hash_problems
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS

Floats = NDArray[np.float64]
_SHAPES = tuple(f"{side}_{way}" for side in SIDES for way in ("rows", "cols"))
_TASK_NAMES = tuple(next(n for n, t in MATRIX_TASKS.items() if t.task_token == token) for token in TASK_TOKENS)
_HALF_UNIT = 0.51  # of the third digit: half, and the float32 in which solutions are stored


@dataclass(frozen=True)
class MatrixValues:
    """An example: its matrices (r, c), and the indices of its task and spectrum if it names them."""

    problem: Floats
    solution: Floats
    clean: Floats | None = None
    task_id: int | None = None
    spectrum: int | None = None


class MatrixPart(ImportPart):
    """Real matrices of up to 100 x 100."""

    problem_type = "matrices"
    notations = ("lists", "tokens", "latex")
    default_encoding = "P10"
    token_encodings = tuple((problems, solutions) for problems in ENCODINGS for solutions in ENCODINGS)
    max_line_bytes = 1 << 21
    chunk_rows = 1_000  # 100 x 100 matrices fill 160 MB

    def required_roles(self, task: MatrixTask, notation: str) -> tuple[str, ...]:
        return (*SIDES, "task") if task.has_task_tokens and notation != "tokens" else SIDES

    def optional_roles(self, task: MatrixTask) -> tuple[str, ...]:
        return ("clean_problem", *_SHAPES, *(["spectrum"] if task.takes_spectrum and not task.has_task_tokens else []))

    def stored_fields(
        self,
        task: MatrixTask,
        source: SourceFormat,
        alphabet: tuple[str, ...] | None,
        read_all: Callable[[], Iterator[Fields]],
    ) -> dict[str, Any]:
        refuse_alphabet(self.problem_type, alphabet)
        return {
            "round_problems": False,
            "snap_problems": True,
            "noisy": "clean_problem" in source.columns,
            "mixed": "spectrum" in source.columns,
        }

    def read(self, task: MatrixTask, spec: ImportedSpec, fields: Sequence[Fields]) -> list[MatrixValues | Fault]:
        if spec.source.notation == "tokens":
            return _read_tokens(task, spec.source, fields)
        return [_read_lists(each) for each in fields]

    def parse(self, task: MatrixTask, spec: ImportedSpec, side: str, value: object) -> Floats | Fault:
        return _read_matrix(side, value, (None, None))

    def batch(self, values: Sequence[Floats]) -> Matrices:
        if len({value.shape for value in values}) == 1:
            return Matrices.from_dense(np.concatenate(values).reshape(-1, *values[0].shape))
        return Matrices.from_list(values)

    def problem_batch(self, values: Sequence[Floats]) -> Matrices:
        """Entries are float32 on or off the decimal grid; those out of range stay as they are."""
        matrices = self.batch(values)
        in_range = np.abs(matrices.values) < LARGEST
        if in_range.all():
            return snap_to_grid(_as_stored(matrices))
        snapped = snap_to_grid(_as_stored(matrices.with_values(np.where(in_range, matrices.values, 0.0))))
        return snapped.with_values(np.where(in_range, snapped.values, matrices.values))

    def grade(
        self, task: MatrixTask, problems: Matrices, answers: Matrices, references: Matrices | None
    ) -> GradedAnswers:
        """By the stored solutions, or by those that the task computes; a problem without a trusted one is a fault."""
        in_range = _in_range(problems)
        usable = in_range & task.supports(problems)
        faults: list[tuple[Mask, Fault]] = []
        if not usable.all():
            faults = [
                (~in_range, Fault(OUT_OF_RANGE, f"problem: expected numbers of magnitude below {LARGEST:g}")),
                (in_range & ~usable, Fault(WRONG_SHAPE, f"problem: expected {task.problem} for {task.name}")),
            ]
        if not usable.any():
            return GradedAnswers(Verification(np.full(len(problems), WRONG_SHAPE_OUTCOME, dtype=np.int8)), faults)
        posed, posed_answers = _take(problems, usable), _take(answers, usable)
        solved = task.solve(posed) if references is None else Solved(_take(references, usable))
        for reason, mask in solved.rejected.items():
            if not mask.any():
                continue
            unsolved = np.zeros(len(problems), dtype=np.bool_)
            unsolved[usable] = mask
            faults.append((unsolved, Fault(reason, f"problem: it has no trusted solution: {reason}")))
        return GradedAnswers(_spread(task.verify(posed, solved.solutions, posed_answers), usable), faults)

    def examples(self, task: MatrixTask, spec: ImportedSpec, values: Sequence[MatrixValues]) -> MatrixExamples:
        problems, solutions = (Matrices.from_list([getattr(v, side) for v in values]) for side in SIDES)
        clean = [value.clean for value in values if value.clean is not None]
        task_ids, spectra = (_indices([getattr(v, name) for v in values]) for name in ("task_id", "spectrum"))
        noise_free = snap_to_grid(_as_stored(Matrices.from_list(clean)).with_task_ids(task_ids)) if clean else None
        stored = snap_to_grid(_as_stored(problems).with_task_ids(task_ids).with_spectra(spectra))
        row = np.zeros(len(values), dtype=np.int64)
        return MatrixExamples(row, stored, _as_stored(solutions).with_task_ids(task_ids), noise_free)

    def misfits(self, task: MatrixTask, examples: MatrixExamples) -> list[tuple[Mask, Fault]]:
        fault = Fault(WRONG_SHAPE, f"problem: expected {task.problem} for {task.name}, got another shape or symmetry")
        in_range = np.ones(len(examples), dtype=np.bool_)
        for matrices in (examples.problems, examples.solutions, examples.solved):
            in_range &= _in_range(matrices)
        too_large = Fault(OUT_OF_RANGE, f"expected numbers of magnitude below {LARGEST:g}")
        supported = task.supports(examples.solved)
        other_size = Fault(WRONG_SHAPE, f"problem: expected the size that the options of {task.name} name")
        fits = task.has_size(examples.solved) if task.chosen_options.keys() & DIMENSIONS else supported
        return [(~in_range, too_large), (~supported, fault), (supported & ~fits, other_size)]

    def check(self, task: MatrixTask, examples: MatrixExamples) -> Checked:
        problems, stored = examples.solved, examples.solutions
        with np.errstate(all="ignore"):
            solved = task.solve(problems)
            names = outcome_names(task, task.verify(problems, solved.solutions, stored).outcome)
        correct = np.isin(names.astype(str), list(task.correct_outcomes)) | _equal_to_3_digits(stored, solved.solutions)
        for reason, mask in solved.rejected.items():
            correct &= ~mask
            names[mask] = f"its problem has no trusted one: {reason}"
        return Checked(correct, names)

    def problem_hash(self, examples: MatrixExamples, keys_from: int = 0) -> Hashes:
        return hash_problems(examples.problems, on_grid=False, keys_from=keys_from)

    def split_hash(self, examples: MatrixExamples) -> Hashes:
        return problem_hash(examples.problems)


def _in_range(matrices: Matrices) -> Mask:
    """(n,): which matrices have only entries of a magnitude that a dataset may hold."""
    magnitudes = np.abs(matrices.values)
    if magnitudes.max(initial=0.0) < LARGEST:  # false for NaN
        return np.ones(len(matrices), dtype=np.bool_)
    return np.asarray(reduce_per_matrix(magnitudes < LARGEST, matrices, np.logical_and))


def _take(matrices: Matrices, mask: Mask) -> Matrices:
    return matrices if mask.all() else matrices.take(mask)


def _spread(verification: Verification, mask: Mask) -> Verification:
    """The verification of the rows in ``mask`` (n,) as one of all n; other rows have a wrong shape and no measures."""
    if mask.all():
        return verification
    outcome = np.full(len(mask), WRONG_SHAPE_OUTCOME, dtype=np.int8)
    outcome[mask] = verification.outcome
    measures = {name: np.full(len(mask), np.nan) for name in verification.measures}
    for name, values in verification.measures.items():
        measures[name][mask] = values
    return Verification(outcome, measures)


def _as_stored(matrices: Matrices) -> Matrices:
    """The values rounded to float32, as shards hold them."""
    with np.errstate(over="ignore"):
        return matrices.with_values(matrices.values.astype(np.float32).astype(np.float64))


def _indices(values: Sequence[int | None]) -> NDArray[np.uint8] | None:
    present = [value for value in values if value is not None]
    return np.array(present, dtype=np.uint8) if present else None


def _equal_to_3_digits(stored: Matrices, solved: Matrices) -> Mask:
    """(n,): which matrices are the solved ones, entry by entry, up to half a unit of the third digit."""
    result = np.zeros(len(stored), dtype=np.bool_)
    index = np.flatnonzero(stored.same_shape(solved))
    h, x = stored.take(index), solved.take(index)
    with np.errstate(all="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(x.values), 1e-300))) - 2)
        close = np.abs(h.values - x.values) <= _HALF_UNIT * unit
    result[index] = reduce_per_matrix(close, x, np.logical_and)
    return result


def _read_lists(fields: Fields) -> MatrixValues | Fault:
    """The matrices of one record, written as lists or LaTeX."""
    matrices: dict[str, Floats] = {}
    for role in (*SIDES, "clean_problem"):
        if role in fields:
            shape_of = "problem" if role == "clean_problem" else role
            shape = tuple(fields.get(f"{shape_of}_{way}") for way in ("rows", "cols"))
            matrix = _read_matrix(role, fields[role], shape)
            if isinstance(matrix, Fault):
                return matrix
            matrices[role] = matrix
    clean = matrices.get("clean_problem")
    if clean is not None and clean.shape != matrices["problem"].shape:
        got = " x ".join(map(str, clean.shape))
        return Fault(WRONG_SHAPE, f"clean_problem: expected the shape of the problem, got {got}")
    indices = [_index(fields, "task", (TASK_TOKENS, _TASK_NAMES)), _index(fields, "spectrum", (SPECTRA,))]
    for index in indices:
        if isinstance(index, Fault):
            return index
    task_id, spectrum = (index if isinstance(index, int) else None for index in indices)
    return MatrixValues(matrices["problem"], matrices["solution"], clean, task_id, spectrum)


def _index(fields: Fields, role: str, names: Sequence[Sequence[str]]) -> int | Fault | None:
    """The position of a name among ``names``, of which each has the same meanings; None where the record names none."""
    if role not in fields:
        return None
    for choices in names:
        if fields[role] in tuple(choices):
            return tuple(choices).index(fields[role])
    return malformed(role, f"one of {', '.join(names[-1])}", fields[role])


def _read_matrix(role: str, value: object, shape: tuple[object, ...]) -> Floats | Fault:
    """A matrix of up to 100 x 100; ``shape``: rows and columns of a list that is not nested, None for a column."""
    try:
        matrix = parse_matrix(value) if isinstance(value, str) else _from_list(value)
        if matrix.shape[1:] == (1,) and None not in shape:
            matrix = matrix.reshape(shape)  # type: ignore[arg-type]
    except (UserError, ValueError, TypeError) as error:
        return Fault(f"malformed {role}", f"{role}: {error}")
    if not matrix.size or max(matrix.shape) > MAX_DIMENSION:
        got = " x ".join(map(str, matrix.shape))
        return Fault(WRONG_SHAPE, f"{role}: expected 1 x 1 to {MAX_DIMENSION} x {MAX_DIMENSION}, got {got}")
    return matrix


def _from_list(value: object) -> Floats:
    """The matrix of a number, a list (a column) or a list of rows."""
    try:
        numbers = np.asarray(value)
    except ValueError:
        numbers = np.empty(0, dtype=object)
    if numbers.dtype.kind in "iuf" and numbers.size > 0 and numbers.ndim <= 2 and np.isfinite(numbers).all():
        return np.asarray(numbers, dtype=np.float64).reshape(-1, 1 if numbers.ndim < 2 else numbers.shape[1])
    return parse_matrix(_list_text(value))  # fractions as text; otherwise it says what is wrong


def _list_text(value: object, depth: int = 0) -> str:
    if isinstance(value, list) and depth < 3:
        return f"[{', '.join(_list_text(item, depth + 1) for item in value)}]"
    is_text = isinstance(value, str) and not set(value) & set("[],")
    if is_text or (isinstance(value, int | float) and not isinstance(value, bool)):
        return str(value)
    raise UserError("no matrix", expected="rows of numbers: [[1, 2.5], [3, 4]]", got=ascii(value)[:40])


def _read_tokens(task: MatrixTask, source: SourceFormat, fields: Sequence[Fields]) -> list[MatrixValues | Fault]:
    """The matrices that tokens of number encodings write."""
    sides = []
    for side, encoding in zip(SIDES, source.encodings or (MatrixPart.default_encoding,) * 2, strict=True):
        tokenizer = MatrixTokenizer.named(encoding, has_task_tokens=task.has_task_tokens)
        sides.append(_decode(tokenizer, side, [each[side] for each in fields]))
    results: list[MatrixValues | Fault] = []
    for problem, solution in zip(*sides, strict=True):
        faults = [value for value in (problem, solution) if isinstance(value, Fault)]
        results.append(faults[0] if faults else MatrixValues(problem[0], solution[0], task_id=problem[1]))
    return results


def _decode(tokenizer: MatrixTokenizer, side: str, values: Sequence[Any]) -> list[Any]:
    """(matrix, task id or None) of each text of tokens, or a ``Fault``."""
    ids, padded = read_token_ids(side, values, tokenizer.tokens_to_ids)
    matrices, status = tokenizer.decode(padded)
    wrong = Fault(
        f"malformed {side}", f"{side}: expected V<rows> V<cols> and exactly as many numbers in {tokenizer.name}"
    )
    task_ids = [None] * len(ids) if matrices.task_ids is None else matrices.task_ids.tolist()
    return [
        each if isinstance(each, Fault) else ((matrices[i], task_ids[i]) if status[i] == DecodeStatus.OK else wrong)
        for i, each in enumerate(ids)
    ]
