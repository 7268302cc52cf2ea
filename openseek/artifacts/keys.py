"""Identity: canonical JSON, step keys and content digests.

key(step)      = sha256(canonical({schema, step, version, params, inputs}))
digest(files)  = sha256(canonical([[name, sha256], ...])) over the files sorted by name

Inputs are content digests, so a step that is computed again with the same result leaves all that
follows untouched, and no path, host or time can leak into a key.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from openseek.artifacts.files import FileRecord

SCHEMA = 1


def canonical(value: Any) -> str:
    """Encode JSON types in exactly one way.

    Raises:
        TypeError: A value has no canonical form (set, callable, NaN, any other object).
    """
    _check(value, "$")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _check(value: Any, where: str) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value!r} cannot be part of an identity; use null")
        return
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check(item, f"{where}[{i}]")
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where}: key {name!r} is not a string")
            _check(item, f"{where}.{name}")
        return
    raise TypeError(
        f"{where}: {type(value).__name__} {value!r} cannot be part of an identity; "
        "use strings, numbers, booleans, lists and objects"
    )


def step_key(step: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Derive a step's key from what determines its output.

    Args:
        step: Name of the step.
        version: Integer in the code, raised when the output for the same params changes.
        params: Identity of the configuration.
        inputs: Logical name -> content digest of the upstream artifact.
    """
    body = {
        "schema": SCHEMA,
        "step": step,
        "version": version,
        "params": dict(params),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def content_digest(files: Iterable[FileRecord]) -> str:
    """Digest what an artifact contains: logical names and sha256, nothing else."""
    pairs = sorted([f.name, f.sha256] for f in files)
    return hashlib.sha256(canonical(pairs).encode()).hexdigest()
