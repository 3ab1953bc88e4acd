"""Random, mutated and truncated token sequences, decoded and verified as if a model had predicted them."""

from __future__ import annotations

import resource
import tempfile
import time

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.adapter_registry import adapter_of_spec
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import load_task

_BATCH = 250  # hypotheses verified together
_PROBLEMS = {"expressions": 40, "sequences": 40}  # equations take long to generate, and 5 bits have few problems


def fuzz(
    rng: np.random.Generator, tokens: NDArray[np.int32], lengths: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """One sequence for each encoded answer (n, L), by one of eight ways; (n, L + 12), each token below ``size``."""
    n, width = tokens.shape[0], tokens.shape[1] + 12
    result = np.zeros((n, width), dtype=np.int64)
    for i in range(n):
        answer = [int(token) for token in tokens[i, : lengths[i]]]
        k = rng.integers(n)
        other = [int(token) for token in tokens[k, : lengths[k]]]
        way, position = rng.integers(8), int(rng.integers(len(answer) + 1))
        if way == 0:  # anything
            answer = rng.integers(0, size, rng.integers(width)).tolist()
        elif way == 1:  # some other tokens
            for place in rng.integers(0, max(len(answer), 1), 3).tolist():
                answer[place : place + 1] = [int(rng.integers(size))]
        elif way == 2:
            del answer[position : position + int(rng.integers(1, 4))]
        elif way == 3:
            answer[position:position] = rng.integers(0, size, rng.integers(1, 6)).tolist()
        elif way == 4:
            answer = answer[:position] + other[position:]
        elif way == 5:
            answer = answer[:position] + answer
        elif way == 6:
            rng.shuffle(answer)
        else:
            answer = other
        answer = answer[: width - 1]
        if rng.random() < 0.9:
            answer.append(END)
        result[i, : len(answer)] = answer
    return result


def score_fuzzed(
    task: str, encoding: str | None, number: int, seed: int
) -> list[tuple[str, str | None, dict[str, int], float, float]]:
    """Score sequences for problems of a task, a batch after the other.

    For each batch: task, encoding, number of each outcome, seconds of the CPU, MB by which the peak of the memory grew.
    """
    rng, spec = np.random.default_rng(seed), load_task(task).make_spec({}, seed)
    problems = min(number, _PROBLEMS.get(load_task(task).problem_type, _BATCH))
    spec = spec.model_copy(update={"chunk_rows": min(spec.chunk_rows, problems)})
    results = []
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(spec, Layout({"test": problems}, problems), folder, workers=0)
        data = open_dataset(folder, "test", encoding, encoding)
        examples = concatenate(list(data.chunks()))
        examples = examples.take(np.arange(_BATCH) % len(examples))
        adapter, (tokens, lengths) = adapter_of_spec(data.spec), data.target.encode(examples.solutions)
        for first in range(0, number, len(examples)):
            fuzzed = fuzz(rng, tokens, lengths, len(data.target.vocabulary))[: number - first]
            started, memory = time.process_time(), _peak_megabytes()
            part = examples.take(np.arange(len(fuzzed)))
            scored = adapter.score(data.target, part, Hypotheses(fuzzed, np.zeros(len(fuzzed))))
            adapter.table(scored, data.split, data.source, data.target)
            names, counts = np.unique(np.array(scored.outcomes)[scored.outcome], return_counts=True)
            outcomes = dict(zip(names.tolist(), counts.tolist(), strict=True))
            results.append((task, encoding, outcomes, time.process_time() - started, _peak_megabytes() - memory))
    return results


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
