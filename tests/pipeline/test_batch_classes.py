"""A subclass of each batch class, outside the package and with a spec model of its own, in every command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from mathpipe.pipeline.cli import main

MATRICES = '''
import numpy as np
from pydantic import Field
from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MatrixTask

class Spec(MatrixSpec):
    largest: int = Field(9, ge=1, description="largest entry")

class Doubled(MatrixTask):
    """A -> 2 A, of whole numbers."""
    name, problem, solution, source = "doubled", "A", "2 A", "school"
    spec_model, default_spec = Spec, Spec(dim=2)
    def sample(self, rng, n, spec):
        return Matrices.from_dense(rng.integers(-spec.largest, spec.largest + 1, (n, spec.max_dim, spec.max_dim)))
    def solve(self, problems):
        return Solved(problems.with_values(2 * problems.values))
    def answer_shape(self, problems):
        return problems.rows, problems.cols
'''
INTEGERS = '''
import numpy as np
from pydantic import Field
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.tasks.integer_task import IntegerTask

class Spec(IntegerSpec):
    factor: int = Field(2, description="the factor")

class Multiple(IntegerTask[Spec]):
    """a -> factor a."""
    name, problem, solution, source = "multiple", "an integer", "its multiple", "school"
    problem_layout, solution_layout = "int", "int"
    spec_model, default_spec = Spec, Spec()
    def sample(self, rng, n, spec):
        return fixed_rows(rng.integers(-10**6, 10**6, (n, 1)))
    def solve(self, problems, spec):
        return fixed_rows(problems.values[:, None] * spec.factor)
'''
SEQUENCES = '''
import numpy as np
from pydantic import Field
from mathpipe.generate.chunks.pair_chunks import Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.sequence_spec import SequenceSpec
from mathpipe.generate.sampling.bits import as_sequences
from mathpipe.generate.tasks.token_task import SequenceTask

class Spec(SequenceSpec):
    alphabet: tuple[str, ...] = ("a", "b")
    length: int = Field(16, ge=8, le=64, description="number of letters")

class Swapped(SequenceTask[Spec]):
    """Letters -> each replaced by the other."""
    name, problem, solution, source = "swapped", "letters", "the other letters", "school"
    alphabet = ("a", "b")
    spec_model, default_spec = Spec, Spec()
    def chunk_rows(self, spec):
        return 1000
    def pairs(self, spec, generator, wanted):
        batch = 0
        while True:
            letters = generator(batch).integers(0, 2, (500, spec.length)).astype(np.uint8)
            yield Pairs(as_sequences(letters), as_sequences(1 - letters))
            batch += 1
    def verify(self, problems, references, predicted):
        right = predicted.equals(type(problems)(1 - problems.values, problems.lengths))
        return Verification(np.where(right, 0, 1).astype(np.int8))
'''
EXPRESSIONS = '''
import numpy as np
from pydantic import Field
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import text_to_ids
from mathpipe.generate.chunks.pair_chunks import Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.tasks.token_task import ExpressionTask

def number(n):
    return "INT+ " + " ".join(str(n))

class Spec(ExpressionSpec):
    largest: int = Field(900, ge=9, description="largest coefficient")

class Slope(ExpressionTask):
    """k x -> k."""
    name, problem, solution, source = "slope", "k x", "k", "school"
    spec_model, default_spec = Spec, Spec()
    symbols = (("x",), ("x",))
    def pairs(self, spec, generator, wanted):
        batch = 0
        while True:
            numbers = generator(batch).integers(2, spec.largest, 500).tolist()
            problems = [text_to_ids(f"mul {number(k)} x") for k in numbers]
            yield Pairs(Sequences.from_list(problems), Sequences.from_list([text_to_ids(number(k)) for k in numbers]))
            batch += 1
    def verify(self, problems, references, predicted):
        expected = Sequences.from_list([bytes(row)[1:-1] for row in problems.to_list()])
        return Verification(np.where(predicted.equals(expected), 0, 4).astype(np.int8))
'''


class Case(NamedTuple):
    code: str
    option: str
    encodings: str
    right: tuple[object, object]
    wrong: object


CASES = {
    "doubled": Case(MATRICES, "--largest 99", "P1000", ([[1, 2], [3, 4]], [[2, 4], [6, 8]]), [[2, 4], [6, 9.5]]),
    "multiple": Case(INTEGERS, "--factor 3", "base10", (7, 21), 14),
    "swapped": Case(SEQUENCES, "--length 12", "", ("aabbaabbaabb", "bbaabbaabbaa"), "aabbaabbaabb"),
    "slope": Case(EXPRESSIONS, "--largest 500", "", ("mul INT+ 7 x", "INT+ 7"), "INT+ 8"),
}
TINY = " ".join(
    f"-S model.{name}={value}"
    for name, value in [
        *(("encoder_layers", 1), ("decoder_layers", 1), ("encoder_width", 16), ("decoder_width", 16)),
        *(("encoder_heads", 2), ("decoder_heads", 2)),
    ]
)


@pytest.mark.parametrize("name", CASES)
def test_every_command_takes_a_batch_class(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    Path("own.py").write_text(case.code)

    def call(line: str, code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line))
        printed = capsys.readouterr()
        assert (stop.value.code or 0) == code, printed.err
        return printed.out

    option = case.option.split()[0]
    assert option in call("generate --task ./own.py --help")
    call(f"generate --task ./own.py --n 200 --valid 20 --test 20 --workers 0 --out data --quiet {case.option}")
    assert call("show data -k 2 --task ./own.py")
    call("verify data --task ./own.py --workers 0")
    encodings = f"-S input_encoding={case.encodings} -S output_encoding={case.encodings}" if case.encodings else ""
    call(
        f"train --task ./own.py --data data --run run --quiet {encodings} {TINY} -S steps=4 -S batch=16 -S eval_every=4 "
        "-S valid_examples=16 -S warmup=1 -S threads=1"
    )
    call("eval --task ./own.py --run run --limit 10 --verbose --quiet")
    constrained = "" if name == "swapped" else "--constrained"
    call(f"eval --task ./own.py --run run --limit 10 --beam 2 --quiet {constrained}")
    call("report run --task ./own.py")
    assert list(Path("run/evaluation").glob("*/report.html"))
    call("failures run --task ./own.py -k 1")
    problem, answer = case.right
    Path("x.jsonl").write_text(
        "".join(json.dumps({"problem": problem, "solution": s}) + "\n" for s in (answer, case.wrong))
    )
    summary = json.loads(
        call(f"import --task ./own.py --test x.jsonl --out imported --json --quiet --workers 1 {case.option}")
    )
    assert [line["line"] for line in summary["bad_lines"]] == [2]
    call("verify imported --task ./own.py --workers 0")
    Path("a.jsonl").write_text(
        "".join(json.dumps({"problem": problem, "answer": a}) + "\n" for a in (answer, case.wrong, "?("))
    )
    scored = [
        json.loads(line)
        for line in call(f"score --task ./own.py a.jsonl --workers 1 --quiet {case.option}").splitlines()
    ]
    assert [each["correct"] for each in scored] == [True, False, False]
    call("export data --task ./own.py --split test --out test.arrow --quiet")
    again = json.loads(call(f"import --task ./own.py --test test.arrow --out again --json --quiet {case.option}"))
    assert again["splits"]["test"]["rows"] == 20 and again["bad"] == 0
