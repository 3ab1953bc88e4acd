"""Checkpoints of LAWT, SymbolicMathematics and Int2Int: a dictionary with ``encoder``, ``decoder`` and ``params``.

A checkpoint is a pickle, which may name any function to call. torch's restricted reader (``weights_only``) calls none but those
that rebuild tensors and plain containers. One more class is allowed, the ``argparse.Namespace`` in which the programs keep their
parameters; it only stores attributes.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mathpipe.datasets.errors import UserError

Weights = dict[str, Tensor]
_LARGEST = 2**31  # elements of a tensor: far above any published model, far below an exhausted memory
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """``encoder``, ``decoder``: float32 weights by name, without the ``module.`` of DistributedDataParallel.

    ``params``: the plain values among the parameters.
    """

    encoder: Weights
    decoder: Weights
    params: dict[str, Any]
    epoch: int | None
    sha256: str


def read_published_checkpoint(path: Path) -> PublishedCheckpoint:
    """The checkpoint; UserError for a file that is missing, damaged, of another layout, or needs to run code."""
    content = _load(path)
    if not isinstance(content, dict) or not {"encoder", "decoder"} <= content.keys():
        got = sorted(map(str, content))[:8] if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"{path} is not a checkpoint of LAWT, SymbolicMathematics or Int2Int",
            expected="a dictionary with encoder, decoder and params",
            got=got,
            next_step="models of Hugging Face and exported models are directories: pass the directory",
        )
    epoch = content.get("epoch")
    return PublishedCheckpoint(
        encoder=_weights(path, "encoder", content["encoder"]),
        decoder=_weights(path, "decoder", content["decoder"]),
        params=_parameters(path, content.get("params")),
        epoch=epoch if isinstance(epoch, int) else None,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _load(path: Path) -> Any:
    """The content of a file, without running anything that the file names."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: what cannot be read is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read", expected="a file such as model.pth", got=error.strerror) from None
    except Exception as error:  # a hostile or truncated pickle may fail in any way
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> UserError:
    """What a file wanted that is not allowed, or that it is damaged."""
    text = " ".join(str(error).split())
    if isinstance(error, pickle.UnpicklingError):
        reason = text.partition("WeightsUnpickler error:")[2].partition("Please")[0].strip() or text[:160]
        match = _REFUSED.search(text)
        return UserError(
            f"{path} needs more than weights and plain values, and was not opened",
            expected="tensors, numbers, texts, lists, dictionaries and argparse.Namespace, as torch.save writes them",
            got=match[1] if match is not None else reason,
            cause="it is of another program, or was made to run code when it is opened",
            next_step="if you trust its author, save its encoder, decoder and params again as plain values",
        )
    return UserError(
        f"{path} cannot be read as a checkpoint",
        expected="a file that torch.save wrote",
        got=f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__,
        cause="the file is truncated, damaged or of another kind",
        next_step="download it again",
    )


def _parameters(path: Path, params: Any) -> dict[str, Any]:
    """The plain values among the parameters; empty if there are none."""
    values = vars(params) if type(params) is argparse.Namespace else params
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"the params of {path} are of an unknown kind",
            expected="a dictionary or an argparse.Namespace",
            got=type(params).__name__,
        )
    return {
        str(name): value
        for name, value in values.items()
        if value is None or isinstance(value, bool | int | float | str)
    }


def _weights(path: Path, side: str, state: Any) -> Weights:
    """The weights of one side by their names; UserError for anything else than finite, dense tensors of numbers."""
    if not isinstance(state, dict) or not state:
        raise UserError(
            f"{path}: {side} is not a state dictionary", expected="tensors by name", got=type(state).__name__
        )
    weights: Weights = {}
    for name, tensor in state.items():
        usable = (
            isinstance(name, str)
            and type(tensor) in (Tensor, torch.nn.Parameter)
            and tensor.layout == torch.strided
            and tensor.is_floating_point()
            and tensor.numel() < _LARGEST
            and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
        )
        if not usable:
            raise UserError(
                f"{path}: {side}.{str(name)[:60]} is not a weight",
                expected="a dense tensor of floating-point numbers",
                got=f"{type(tensor).__name__} {getattr(tensor, 'dtype', '')}".strip(),
            )
        weights[name.removeprefix("module.")] = tensor.detach().float().contiguous()
        if not bool(torch.isfinite(weights[name.removeprefix("module.")]).all()):
            raise UserError(
                f"{path}: {side}.{name} holds values that are not finite",
                cause="the training diverged, or the file is damaged",
            )
    return weights
