"""``mathpipe import-model`` of published checkpoints: equal logits and answers, refusals, and what works on the run."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch

import mathpipe
from mathpipe.datasets.dataset import open_dataset
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.pipeline.cli import main
from mathpipe.train.run.checkpoint import load_model
from mathpipe.train.run.loaded_model import LoadedModel
from mathpipe.train.run.run_record import tokenizers

PublishedModel = runpy.run_path(str(Path(__file__).parents[2] / "published_transformer.py"))["PublishedModel"]
END, PAD = 0, 1

LAWT_PARAMS = {
    "operation": "eigenvectors", "input_encoding": "FP15,2,16", "output_encoding": "float,2,1000", "n_enc_layers": 2,
    "n_dec_layers": 1, "enc_emb_dim": 24, "dec_emb_dim": 16, "n_enc_heads": 3, "n_dec_heads": 2, "dropout": 0, "min_dimension": 2,
    "max_dimension": 2, "max_input_coeff": 10, "sinusoidal_embeddings": False, "share_inout_emb": True,
}  # fmt: skip
SYMBOLIC_PARAMS = {"tasks": "prim_fwd,prim_bwd", "emb_dim": 16, "n_heads": 2, "n_enc_layers": 2, "n_dec_layers": 2}
INT2INT_PARAMS = {"operation": "gcd", "base": 10, "n_enc_heads": 3, "n_dec_heads": 2}
INT2INT_TOKENS = ["<s>", "</s>", "<pad>", "(", ")", "V2", "+", "-", *map(str, range(10))]
Call = Callable[..., str]


def lawt(**changes: Any) -> Any:
    return PublishedModel(**({"tokens": 30_329, "encoder": (24, 3, 2), "decoder": (16, 2, 1)} | changes))


def symbolic(**changes: Any) -> Any:
    return PublishedModel(**({"tokens": 91, "encoder": (16, 2, 2), "decoder": (16, 2, 2), "lawt": False} | changes))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command that has to end with exit code ``code``; what it printed, or its error."""

    def run(*line: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in line])
        output = capsys.readouterr()
        assert (exit_info.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    return run


def saved(path: Path, model: Any, params: object, module: bool = False) -> Path:
    torch.save(model.checkpoint(params, module), path)
    return path


def batch(tokens: int, lengths: tuple[tuple[int, int], ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random problems framed by 0 and solutions that begin with 0, padded."""
    generator = torch.Generator().manual_seed(5)
    longest = [max(side) + 2 for side in zip(*lengths, strict=True)]
    source, target = (torch.randint(2, tokens, (len(lengths), n), generator=generator) for n in longest)
    for i, (a, b) in enumerate(lengths):
        source[i, a + 1], target[i, b + 1] = END, END
        source[i, a + 2 :], target[i, b + 2 :] = PAD, PAD
    source[:, 0] = target[:, 0] = END
    return source, target


MODELS: dict[str, tuple[Callable[..., Any], dict[str, Any], list[str]]] = {
    "LAWT": (lawt, LAWT_PARAMS, []),
    "LAWT, sinusoidal": (lambda: lawt(sinusoidal=True), LAWT_PARAMS | {"sinusoidal_embeddings": True}, []),
    "SymbolicMathematics": (symbolic, SYMBOLIC_PARAMS, []),
    "Int2Int": (lambda: lawt(tokens=len(INT2INT_TOKENS)), INT2INT_PARAMS, ["--vocabulary"]),
    "other queries": (lambda: lawt(cross_from_input=False), LAWT_PARAMS, ["--cross-query", "attended"]),
}


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_answers_are_the_published_ones(name: str, module: bool, tmp_path: Path, call: Call) -> None:
    build, params, options = MODELS[name]
    model = build()
    options = list(options)
    if options == ["--vocabulary"]:
        (tmp_path / "tokens.txt").write_text("\n".join(INT2INT_TOKENS))
        options.append(str(tmp_path / "tokens.txt"))
    file = saved(tmp_path / "model.pth", model, argparse.Namespace(**params) if module else params, module)
    call("import-model", file, "--out", tmp_path / "run", *options)
    loaded = mathpipe.load_model(tmp_path / "run")
    assert isinstance(loaded, torch.nn.Module) and len(loaded.target_tokens) == model.tokens
    source, target = batch(model.tokens, ((9, 7), (4, 12), (12, 1), (1, 3)))
    expected = model.logits(source, target)
    real = target != PAD
    with torch.no_grad():
        torch.testing.assert_close(loaded(source, target)[real], expected[real], rtol=1e-5, atol=1e-5)
        plain_source, plain_target = source[:, 1:].clone(), target[:, 1:].clone()
        plain_source[plain_source == END] = PAD
        logits = loaded(plain_source, plain_target)  # without the framing
    wanted = plain_target != PAD
    torch.testing.assert_close(logits[wanted], expected[:, :-1][wanted], rtol=1e-5, atol=1e-5)
    check_greedy(model, loaded)


def check_greedy(model: Any, loaded: LoadedModel) -> None:
    """Cached greedy decoding, beam search of width one and the plain program give the same tokens."""
    inner, record = loaded.model, loaded.record
    source_tokenizer, _ = tokenizers(record)
    generator = torch.Generator().manual_seed(6)
    ids = {token: i for i, token in enumerate(loaded.source_tokens)}
    names = source_tokenizer.vocabulary[2:202]
    problems = [[names[int(i)] for i in torch.randint(0, len(names), (n,), generator=generator)] for n in (6, 6, 6)]
    encoded = torch.tensor([source_tokenizer.tokens_to_ids(problem) for problem in problems])
    with decoding_mode(inner):
        results = [greedy(inner, encoded, 10), beam_search(inner, encoded, 10, Decoding(beam=1))]
    own_order = torch.arange(len(loaded.target_tokens))[loaded.own_ids.argsort()]
    for i, problem in enumerate(problems):
        expected = model.greedy(torch.tensor([END, *(ids[token] for token in problem), END]), 10)
        for result in results:
            answer = [int(own_order[token]) for token in result.tokens[i]]
            assert (answer[: answer.index(END) + 1] if END in answer else answer) == expected


def test_record_of_an_import(tmp_path: Path, call: Call) -> None:
    file = saved(tmp_path / "eigenvectors.pth", lawt(), LAWT_PARAMS)
    record = json.loads(call("import-model", file, "--out", tmp_path / "run", "--json"))
    assert (record["task"], record["input_encoding"], record["output_encoding"]) == ("eigenvectors", "FP15", "P1000")
    assert record["spec"]["problems"]["max_dim"] == 2 and "epoch 7" in record["imported_from"]
    model = record["config"]["model"]
    assert (model["encoder_width"], model["decoder_width"], model["encoder_heads"]) == (24, 16, 3)
    assert (model["cross_query"], model["norm"], model["positions"]) == ("input", "post", "learned")
    assert "already" not in call("import-model", file, "--out", tmp_path / "run")  # again: the same run
    other = saved(tmp_path / "other.pth", lawt(seed=1), LAWT_PARAMS)
    assert "holds other files" in call("import-model", other, "--out", tmp_path / "run", code=2)
    sinusoidal = saved(tmp_path / "sines.pth", lawt(sinusoidal=True), LAWT_PARAMS)
    record = json.loads(call("import-model", sinusoidal, "--out", tmp_path / "sines", "--json"))
    assert record["config"]["model"]["positions"] == "sinusoidal"


@pytest.mark.parametrize(
    ("size", "encodings", "task"),
    [
        (338, ("P10", "P10"), "transpose"),
        (1_328, ("P1000", "P1000"), "transpose"),
        (2_329, ("B1999", "B1999"), "add"),
        (29_128, ("FP15", "FP15"), "eigenvalues"),
        (30_329, ("FP15", "P1000"), "inverse"),
    ],
)
def test_size_of_vocabulary_tells_encodings(
    size: int, encodings: tuple[str, str], task: str, tmp_path: Path, call: Call
) -> None:
    file = saved(tmp_path / "model.pth", lawt(tokens=size), {"n_enc_heads": 3, "n_dec_heads": 2})
    record = json.loads(call("import-model", file, "--out", tmp_path / "run", "--json"))
    assert (record["input_encoding"], record["output_encoding"]) == encodings and record["task"] == task
    named = saved(
        tmp_path / "named.pth", lawt(tokens=size), {"n_heads": 1, "operation": "matrix_sum", "cotraining": "TADMEFI"}
    )
    assert json.loads(call("import-model", named, "--out", tmp_path / "named", "--json"))["task"] == "add"


def test_unknown_vocabularies_name_the_expected_sizes(tmp_path: Path, call: Call) -> None:
    sizes = "91 (expressions), 338 (P10), 1,328 (P1000), 2,329 (B1999), 29,128 (FP15), 30,329 (FP15 in, P1000 out)"
    file = saved(tmp_path / "a.pth", lawt(tokens=500), {"n_heads": 1})
    error = call("import-model", file, "--out", tmp_path / "run", code=2)
    assert sizes in error and "500 tokens" in error and "--vocabulary" in error
    file = saved(tmp_path / "b.pth", lawt(tokens=338), LAWT_PARAMS)
    error = call("import-model", file, "--out", tmp_path / "run", code=2)
    assert "30,329 tokens (FP15 in, P1000 out, eigenvectors)" in error and "Got: 338 tokens" in error
    file = saved(tmp_path / "c.pth", lawt(tokens=500), INT2INT_PARAMS)
    assert sizes in call("import-model", file, "--out", tmp_path / "run", code=2)
    (tmp_path / "tokens.txt").write_text("\n".join(INT2INT_TOKENS))
    error = call("import-model", file, "--out", tmp_path / "run", "--vocabulary", tmp_path / "tokens.txt", code=2)
    assert "500 different tokens" in error
    file = saved(tmp_path / "d.pth", lawt(tokens=338), {"input_encoding": "float,2,100", "n_heads": 1})
    assert "float,2,100" in call("import-model", file, "--out", tmp_path / "run", code=2)
    assert not (tmp_path / "run").exists()


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["params", "encoder", "epoch", "bare", "old format"])
def test_hostile_files_run_nothing(where: str, tmp_path: Path, call: Call) -> None:
    mark, file = tmp_path / "executed", tmp_path / "model.pth"
    hostile = Hostile(f"touch {mark}")
    if where == "bare":
        file.write_bytes(pickle.dumps(hostile))
    elif where == "old format":
        torch.save(symbolic().checkpoint(hostile), file, _use_new_zipfile_serialization=False)
    else:
        torch.save(symbolic().checkpoint(SYMBOLIC_PARAMS) | {where: hostile}, file)
    error = call("import-model", file, "--out", tmp_path / "run", code=2)
    assert "needs more than weights and plain values" in error
    assert where == "bare" or "posix.system" in error
    assert not mark.exists() and not (tmp_path / "run").exists()
    pickle.loads(pickle.dumps(hostile))  # noqa: S301  # the file would have done it
    assert mark.exists()


def test_classes_besides_namespace_are_refused(tmp_path: Path, call: Call) -> None:
    file = saved(tmp_path / "model.pth", symbolic(), {"path": PurePosixPath("data")})
    assert "PurePosixPath" in call("import-model", file, "--out", tmp_path / "run", code=2)


def test_damaged_files_are_refused(tmp_path: Path, call: Call) -> None:
    whole = saved(tmp_path / "whole.pth", symbolic(), SYMBOLIC_PARAMS).read_bytes()
    file = tmp_path / "model.pth"
    for content in (b"", b"\x80", whole[:100], whole[: len(whole) // 2], whole[:-10], b"<html>not found</html>"):
        file.write_bytes(content)
        assert "model.pth" in call("import-model", file, "--out", tmp_path / "run", code=2)
    torch.save(symbolic().checkpoint(SYMBOLIC_PARAMS), file, _use_new_zipfile_serialization=False)
    old = file.read_bytes()
    for length in (50, len(old) // 3, len(old) - 8):
        file.write_bytes(old[:length])
        call("import-model", file, "--out", tmp_path / "run", code=2)
    assert "there is no file" in call("import-model", tmp_path / "absent.pth", "--out", tmp_path / "run", code=2)
    assert not (tmp_path / "run").exists()


def test_wrong_weights_are_refused(tmp_path: Path, call: Call) -> None:
    def refused(change: Callable[[dict[str, Any]], object], params: Any = SYMBOLIC_PARAMS, model: Any = None) -> str:
        content = (model or symbolic()).checkpoint(params)
        change(content)
        torch.save(content, tmp_path / "model.pth")
        error = call("import-model", tmp_path / "model.pth", "--out", tmp_path / "run", code=2)
        assert not (tmp_path / "run").exists()
        return error

    zeros = torch.zeros
    assert "encoder.ffns.1.lin2.bias is missing" in refused(lambda c: c["encoder"].pop("ffns.1.lin2.bias"))
    assert "decoder.proj.bias is missing" in refused(lambda c: c["decoder"].pop("proj.bias"))
    assert "wrong shape" in refused(lambda c: c["decoder"].update({"encoder_attn.0.k_lin.weight": zeros(16, 8)}))
    assert "wrong shape" in refused(lambda c: c["encoder"].update({"embeddings.weight": zeros(91, 4, 4)}))
    assert "differ in vocabulary size" in refused(lambda c: c["encoder"].update({"embeddings.weight": zeros(92, 16)}))
    assert "weights that the published transformer lacks" in refused(
        lambda c: c["decoder"].update({"gate.weight": zeros(3)})
    )
    assert "weights of its own" in refused(lambda c: c["decoder"].update({"proj.weight": zeros(91, 16)}))
    assert "not finite" in refused(lambda c: c["encoder"].update({"layer_norm_emb.bias": zeros(16) / 0}))
    assert "is not a weight" in refused(
        lambda c: c["encoder"].update({"layer_norm_emb.bias": zeros(16, dtype=torch.int64)})
    )
    assert "is not a weight" in refused(lambda c: c["encoder"].update({"layer_norm_emb.bias": zeros(1).expand(16)}))
    assert "not a checkpoint of" in refused(lambda c: c.pop("decoder"))
    assert "not a state dictionary" in refused(lambda c: c.update(encoder=[zeros(3)]))
    assert "heads of the encoder is unknown" in refused(lambda c: None, {"tasks": "ode1"})
    assert "heads of the encoder is wrong" in refused(lambda c: None, {"tasks": "ode1", "n_heads": 3})
    assert "layers of the encoder are missing" in refused(lambda c: None, SYMBOLIC_PARAMS | {"n_enc_layers": 3})
    gap = {f"layer_norm1.{n}.weight": None for n in (0,)}
    assert "layers of the encoder are missing" in refused(lambda c: [c["encoder"].pop(name) for name in gap])


@pytest.fixture(scope="module")
def expressions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "bwd"
    with pytest.raises(SystemExit) as end:
        main(
            f"generate --task integration-bwd --n 64 --valid 8 --test 8 --max-operators 4 --out {data} --workers 0".split()
        )
    assert not end.value.code
    return data


def test_run_is_evaluated_reported_asked_and_trained_further(expressions: Path, tmp_path: Path, call: Call) -> None:
    file = saved(tmp_path / "fwd_bwd.pth", symbolic(positions=600), SYMBOLIC_PARAMS)
    run = tmp_path / "run"
    printed = call("import-model", file, "--out", run)
    assert "integration-fwd" in printed and "continue.yaml" in printed
    assert "names no dataset" in call("eval", "--run", run, code=2)
    metrics = json.loads(call("eval", "--run", run, "--data", expressions, "--beam", 2, "--verbose", "--json"))
    assert metrics["n"] == 8  # the data of another generator
    assert "report" in call("report", run)
    dump = next(run.glob("evaluation/*/failures.jsonl.zst"))
    assert call("failures", dump, "-k", 1) and call("failures", run, "-k", 1)
    assert call("solve", "--run", run, "--beam", 1, "sub Y' x")
    options = [
        "-S",
        "steps=2",
        "-S",
        "warmup=0",
        "-S",
        "batch=4",
        "-S",
        "valid_examples=0",
        "-S",
        "checkpoint_every=1",
        "--quiet",
    ]
    assert "imported model" in call("train", "--data", expressions, "--run", run, *options, code=2)
    call("train", "--data", expressions, "--run", tmp_path / "more", "--params", run / "continue.yaml", *options)
    before, after = (load_model(path)[0].state_dict() for path in (run, tmp_path / "more"))
    changed = {name: (before[name] - after[name]).abs().max().item() for name in before}
    assert 0 < max(changed.values()) < 1e-3  # two steps of Adam from the imported weights


def test_imported_run_of_matrices_names_its_dataset(tmp_path: Path, call: Call) -> None:
    call(
        "generate",
        "--task",
        "eigenvectors",
        "--dim",
        2,
        "--n",
        32,
        "--valid",
        4,
        "--test",
        4,
        "--out",
        tmp_path / "data",
    )
    file = saved(tmp_path / "model.pth", lawt(), LAWT_PARAMS)
    call("import-model", file, "--out", tmp_path / "run", "--data", tmp_path / "data")
    assert json.loads(call("eval", "--run", tmp_path / "run", "--json"))["n"] == 4
    dataset = open_dataset(str(tmp_path / "data"), "test", "FP15", "P1000")
    (rows,) = dataset.chunks()
    loaded = mathpipe.load_model(tmp_path / "run")
    encoded = dataset.encode(rows)
    published = [
        [END, *(loaded.source_tokens.index(token) for token in dataset.source.ids_to_tokens(ids)), END]
        for ids in encoded.source[:, :6]
    ]
    assert loaded(torch.tensor(published), torch.zeros(4, 1, dtype=torch.int64)).shape == (4, 1, 30_329)


def test_int2int_problems_are_written_as_documented(tmp_path: Path, call: Call) -> None:
    (tmp_path / "tokens.txt").write_text("\n".join(INT2INT_TOKENS))
    file = saved(tmp_path / "model.pth", lawt(tokens=len(INT2INT_TOKENS)), INT2INT_PARAMS)
    options = ("--out", tmp_path / "run", "--vocabulary", tmp_path / "tokens.txt", "--json")
    record = json.loads(call("import-model", file, *options))
    assert (record["task"], record["input_encoding"], record["output_encoding"]) == (
        "gcd",
        "base10+size",
        "base10+size",
    )
    assert mathpipe.load_model(tmp_path / "run").source_tokens == tuple(INT2INT_TOKENS)
    call(
        "generate", "--task", "gcd", "--max-int", 99, "--n", 500, "--valid", 8, "--test", 8, "--out", tmp_path / "data"
    )
    assert json.loads(call("eval", "--run", tmp_path / "run", "--data", tmp_path / "data", "--json"))["n"] == 8
    settings = ["-S", "steps=1", "-S", "warmup=0", "-S", "batch=4", "-S", "valid_examples=0", "--quiet"]
    params = ("--params", tmp_path / "run" / "continue.yaml")
    call("train", "--data", tmp_path / "data", "--run", tmp_path / "more", *params, *settings)
    assert mathpipe.load_model(tmp_path / "more").source_tokens == tuple(INT2INT_TOKENS)


@pytest.mark.parametrize("published", [True, False])
def test_exported_model_gives_equal_logits(published: bool, expressions: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    if published:
        call("import-model", saved(tmp_path / "model.pth", symbolic(positions=600), SYMBOLIC_PARAMS), "--out", run)
    else:
        sizes = "encoder_layers=1 decoder_layers=1 encoder_width=16 decoder_width=16 encoder_heads=2 decoder_heads=2"
        settings = [f"-Smodel.{setting}" for setting in sizes.split()]
        options = ["-S", "steps=1", "-S", "warmup=1", "-S", "batch=4", "-S", "valid_examples=0", "--quiet"]
        call("train", "--data", expressions, "--run", run, *options, *settings)
    call("eval", "--run", run, "--data", expressions, "--limit", 4)
    exported = tmp_path / "exported"
    assert "model.safetensors" in call("export-model", run, "--out", exported)
    assert {file.name for file in exported.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    card = (exported / "README.md").read_text()
    assert "integration" in card and "encoder_layers" in card and ("of-bwd" in card or "test" in card)
    shutil.move(run, tmp_path / "original")
    call("import-model", exported, "--out", run)
    first, second = (mathpipe.load_model(tmp_path / name) for name in ("original", "run"))
    source, target = batch(91, ((9, 7), (4, 12)))
    with torch.no_grad():
        assert torch.equal(first(source, target), second(source, target))
    assert first.source_tokens == second.source_tokens and len(first.source_tokens) == 91
    assert "holds other files" in call("export-model", run, "--out", exported, code=2)
    assert "says this itself" in call("import-model", exported, "--task", "ode1", "--out", tmp_path / "x", code=2)
    weights = exported / "model.safetensors"
    content = weights.read_bytes()
    for damaged, message in (
        (content[:-9], "damaged"),
        (content[:-9] + b"123456789", "is not the file of its config.json"),
    ):
        weights.write_bytes(damaged)
        assert message in call("import-model", exported, "--out", tmp_path / "x", code=2)
    assert not (tmp_path / "x").exists()


KILLED = """
import sys, time
from pathlib import Path
from mathpipe.train.published import imported_run
original = imported_run.write_json
def stuck(*arguments):
    Path(sys.argv[1]).touch()
    time.sleep(60)
imported_run.write_json = stuck
from mathpipe.pipeline.cli import main
main(sys.argv[2:])
"""


def test_killed_import_does_not_block_the_next(tmp_path: Path, call: Call) -> None:
    file, mark = saved(tmp_path / "model.pth", symbolic(), SYMBOLIC_PARAMS), tmp_path / "mark"
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(mark),
        "import-model",
        str(file),
        "--out",
        str(tmp_path / "runs" / "a"),
    ]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 120
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert mark.exists() and not (tmp_path / "runs" / "a").exists()
    assert len(list((tmp_path / "runs").iterdir())) == 1  # what the killed import left
    call("import-model", file, "--out", tmp_path / "runs" / "a")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
    assert len(mathpipe.load_model(tmp_path / "runs" / "a").source_tokens) == 91
