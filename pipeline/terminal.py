"""Output on streams that cannot encode every character, such as cp1252, latin-1 or ASCII: drawings in ASCII, never an error."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import TextIO

_HANDLER, _CODEC = "mathpipe.ascii", "mathpipe_ascii"
_DRAWINGS = {
    **dict.fromkeys("│┃║⎢⎥⎜⎟⎪┆▏▕", "|"),
    **dict.fromkeys("─━═—–−‐▔▁", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝⎡⎤⎣⎦⎛⎞⎝⎠⎧⎨⎩⎫⎬⎭", "+"),
    **dict.fromkeys("█▓▒░▉▊▋▌▍▎", "#"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”", '"'),
    "·": "*",
    "×": "x",
    "÷": "/",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "±": "+-",
    "√": "sqrt",
    "∞": "inf",
    "→": "->",
    "←": "<-",
    "…": "...",
    "•": "*",
    "π": "pi",
    "∫": "int",
    "∂": "d",
    "∈": "in",
    "⋅": "*",
    "✓": "ok",
    "✗": "x",
}


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: what the stream cannot encode, in ASCII; ``?`` where there is nothing like it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if character in _DRAWINGS:
        return _DRAWINGS[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.combining(character) else "?")


def _find_codec(name: str) -> codecs.CodecInfo | None:
    """ASCII under another name: click writes UTF-8 to streams that call themselves ASCII."""
    if name != _CODEC:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode, ascii_codec.decode, ascii_codec.streamreader, ascii_codec.streamwriter,
        ascii_codec.incrementalencoder, ascii_codec.incrementaldecoder, name=_CODEC,
    )  # fmt: skip


def tolerate_encodings() -> None:
    """Let standard output and standard error draw in ASCII what they cannot encode."""
    codecs.register_error(_HANDLER, replace_unencodable)
    codecs.register(_find_codec)
    for stream in (sys.stdout, sys.stderr):
        _tolerate(stream)


def _tolerate(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None or codecs.lookup(stream.encoding).name in ("utf-8", "utf-16", "utf-32"):
        return
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    reconfigure(encoding=_CODEC if is_ascii else None, errors=_HANDLER)
