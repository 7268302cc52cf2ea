"""Read a configuration: YAML, `extends`, `--set key.path=value`, and errors that say the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from openseek.config.pipeline import PipelineConfig
from openseek.config.source_presets import expand_sources
from openseek.errors import ConfigError

S = TypeVar("S", bound=BaseModel)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read, merge and validate a configuration.

    Args:
        path: YAML file. `extends: other.yaml` is merged under it; `sources: file.yaml` and
            `include: file.yaml` in the list read sources from there. All are relative to the file
            that names them.
        overrides: `key.path=value` with a YAML value; `stages.foundation.tokens=2M`. Items of a
            list are addressed by number, sources also by name.

    Raises:
        ConfigError: With file, key, value and the mend for each mistake.
    """
    raw = _read(Path(path), seen=())
    apply_overrides(raw, overrides)
    return validate(raw, str(path))


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change plain configuration data in place by `key.path=value` entries.

    Raises:
        ConfigError: An entry has no `=`, or its path leads nowhere.
    """
    for override in overrides:
        _apply(raw, override)


def read_sources(path: Path) -> list[Any]:
    """Read a YAML list of sources, with presets and includes written out."""
    found: list[Any] = _sources(_yaml(path), path)
    return found


def validate(raw: dict[str, Any], where: str) -> PipelineConfig:
    """Build the configuration from plain data.

    Raises:
        ConfigError: One line for each mistake.
    """
    try:
        return PipelineConfig.model_validate(raw)
    except ValidationError as error:
        lines = explain(error, PipelineConfig)
        raise ConfigError(
            "\n  ".join(["not a valid configuration:", *lines]), where=where
        ) from None


def validate_section(model: type[S], raw: Mapping[str, Any], where: str, mend: str = "") -> S:
    """Build one section from plain data.

    Args:
        model: The section.
        raw: Its keys.
        where: Where they come from.
        mend: What to say where the mistakes don't tell the known keys.

    Raises:
        ConfigError: All mistakes.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        told = "; ".join(explain(error, model))
        whole = all(not e["loc"] for e in error.errors())  # such a message says what to change
        mend = "" if whole or "known keys:" in told else mend
        raise ConfigError(told, where=where, mend=mend) from None


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Say what is wrong with each key, and how to mend it."""
    return [_explain(e, model) for e in error.errors()]


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError("a configuration extends itself", where=str(path), mend="Break the loop.")
    raw = _yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(
            f"expected a mapping at the top, got {type(raw).__name__}",
            where=str(path),
            mend="Start from configs/demo.yaml.",
        )
    if "sources" in raw:
        raw["sources"] = _sources(raw["sources"], path)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    return _merge(_read(path.parent / str(base), (*seen, path.resolve())), raw)


def _sources(value: Any, path: Path) -> Any:
    try:
        return expand_sources(value, SimpleNamespace(context={"folder": path.parent}))
    except ValueError as error:
        raise ConfigError(f"sources: {error}", where=str(path)) from None


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        mend = f"There are: {', '.join(near)}." if near else "Check the path."
        raise ConfigError("no such file", where=str(path), mend=mend) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {error}", where=str(path)) from None


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _apply(raw: dict[str, Any], override: str) -> None:
    key, sep, text = override.partition("=")
    if not sep or not key:
        raise ConfigError(
            f"expected key.path=value, got {override!r}",
            where="--set",
            mend="For example --set stages.foundation.tokens=2M.",
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r} is not a YAML value: {error}", where=f"--set {key}") from None
    node: Any = raw
    *parents, last = key.split(".")
    for part in parents:
        node = _step(node, part, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"{parents[-1]!r} has no keys below it", where=f"--set {key}")


def _step(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}
        return node[part]
    raise ConfigError(f"nothing below {part!r}", where=f"--set {key}", mend="Check the path.")


def _index(items: list[Any], part: str, key: str) -> int:
    if part.isdigit() and int(part) < len(items):
        return int(part)
    names = [i.get("name", "") if isinstance(i, dict) else "" for i in items]
    if part in names:
        return names.index(part)
    raise ConfigError(
        f"no item {part!r}",
        where=f"--set {key}",
        mend=f"Use a number below {len(items)} or one of: {', '.join(n for n in names if n)}.",
    )


def _explain(error: Any, model: type[BaseModel]) -> str:
    loc = [str(p) for p in error["loc"]]
    key = ".".join(loc)
    value = error.get("input")
    shown = "" if isinstance(value, dict | list) else f" (value {value!r})"
    if error["type"] == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        near = difflib.get_close_matches(loc[-1], known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key{shown}; {mend}"
    if error["type"] == "missing":
        return f"{key}: required and not given; add it"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message}{shown}" if key else message


def _known_keys(model: type[BaseModel], loc: Iterable[str]) -> list[str]:
    """List the keys allowed at a place, following the types of nested sections."""
    current: list[type[BaseModel]] = [model]
    for part in loc:
        following: list[type[BaseModel]] = []
        for section in current:
            field = section.model_fields.get(part)
            following += _models(field.annotation) if field else []
        current = following or current
    return sorted({name for section in current for name in section.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _models(arg)]
