"""What every section of the configuration is built from.

`Section` is a frozen pydantic model that refuses unknown keys. A field made with `runtime(...)`
cannot change a step's output (paths, workers, devices), so it is left out of the step's identity.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from openseek.units import parse_bytes, parse_count

Count = Annotated[int, BeforeValidator(parse_count)]
"""A whole number, also written `2M` or `1.5B`."""

Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""A size in bytes, also written `256MB` or `64MiB`."""


class Section(BaseModel):
    """Base of all configuration models: frozen, strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def identity(self) -> dict[str, Any]:
        """Dump the fields that can change an output, as JSON types; runtime fields are left out."""
        return _identity(self)


def runtime(default: Any, description: str, **extra: Any) -> Any:
    """Declare a field that cannot change any output and so never enters a key."""
    return Field(default, description=description, json_schema_extra={"runtime": True}, **extra)


def _identity(model: BaseModel) -> dict[str, Any]:
    dump: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("runtime"):
            continue
        dump[name] = _plain(getattr(model, name))
    return dump


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _identity(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return getattr(value, "value", value)
    raise TypeError(
        f"a configuration value of type {type(value).__name__} has no canonical form: {value!r}"
    )
