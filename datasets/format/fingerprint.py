"""The fingerprint of a spec: equal fingerprints mean equal examples."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(spec: dict[str, Any]) -> str:
    """JSON with sorted keys and without spaces."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def spec_fingerprint(spec: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a spec, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()
