"""Well-known corpora by name: what `{preset: name}` in a list of sources stands for.

A preset is one YAML file of source fields. Where a corpus is published in parts, the file has
`subsets`: name -> the fields that differ. Then the file's name stands for all of its parts (where
they overlap, for those in `default`), and `FILE-SUBSET` for one of them. `whole` has the expected
size of all parts together, where the parts' own are not known:

    sources:
      - preset: fineweb-edu-10bt                 # one source
      - {preset: nemotron-cc, only: high-*}      # the six of its eleven that are called high-...
      - {preset: dolma-wiki, root: /data/dolma}  # one part, from a copy in a folder

Keys beside `preset` override the preset's, for all of its parts; `root` says where a copy lies.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from openseek.units import parse_bytes, parse_count

PRESETS = Path(__file__).resolve().parents[1] / "corpus" / "presets"

Fields = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """One preset file.

    Attributes:
        members: Fields of its sources, `name` among them.
        default: Names of those that the file's name stands for.
        whole: `expected_bytes` and `expected_tokens` of all of them together.
    """

    members: tuple[Fields, ...]
    default: tuple[str, ...]
    whole: Fields = field(default_factory=dict)


@functools.cache
def _families() -> dict[str, Family]:
    import yaml

    return {
        path.stem: _family(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(PRESETS.glob("*.yaml"))
    }


def _family(name: str, content: Fields) -> Family:
    common = {k: v for k, v in content.items() if k not in ("subsets", "default", "whole")}
    subsets = content.get("subsets")
    if subsets is None:
        return Family(({"name": name, **common},), (name,))
    default = content.get("default", list(subsets))
    members = [{"name": f"{name}-{s}", **_merged(common, f)} for s, f in subsets.items()]
    names = tuple(f"{name}-{s}" for s in default)
    return Family(tuple(members), names, content.get("whole", {}))


def _merged(common: Fields, fields: Fields) -> Fields:
    merged = {**common, **fields}
    for key, value in common.items():
        if isinstance(value, dict) and isinstance(fields.get(key), dict):
            merged[key] = {**value, **fields[key]}
    return merged


def preset_families() -> dict[str, list[str]]:
    """Return file name -> the names of the sources that are described in it."""
    return {name: [m["name"] for m in f.members] for name, f in _families().items()}


def describe_family(name: str) -> dict[str, int | None]:
    """Return the expected bytes and tokens of a file's sources together; None: not known."""
    whole = _families()[name].whole
    size, tokens = whole.get("expected_bytes"), whole.get("expected_tokens")
    return {
        "expected_bytes": None if size is None else parse_bytes(size),
        "expected_tokens": None if tokens is None else parse_count(tokens),
    }


def load_preset(name: str) -> list[Fields]:
    """Read the sources that a preset of the library stands for.

    Args:
        name: Of a file, or of one part of it.

    Returns:
        Fields of each source, `name` among them.

    Raises:
        ValueError: There is no preset of that name.
    """
    families = _families()
    if name in families:
        family = families[name]
        return [dict(m) for m in family.members if m["name"] in family.default]
    for family in families.values():
        if found := [dict(m) for m in family.members if m["name"] == name]:
            return found
    near = next((f for f in families if name.startswith(f + "-")), "")
    if near:
        told = f"{near} has {', '.join(preset_families()[near])}"
    else:
        told = f"there are: {', '.join(families)}"
    raise ValueError(f"no source preset {name!r}; {told}")


def expand_sources(value: Any, info: ValidationInfo | None = None) -> Any:
    """Replace `{preset: name, ...}` and `{include: file.yaml}` entries by what they stand for.

    A file is looked for beside the configuration (validation context `folder`), then in the
    working folder.
    """
    if isinstance(value, str):
        value = [{"include": value}]
    if not isinstance(value, list | tuple):
        return value
    folder = Path((info.context or {}).get("folder", ".")) if info is not None else Path()
    expanded: list[Any] = []
    for entry in value:
        if isinstance(entry, dict) and "preset" in entry:
            expanded.extend(_preset(entry))
        elif isinstance(entry, dict) and set(entry) == {"include"}:
            expanded.extend(_include(str(entry["include"]), folder))
        else:
            expanded.append(entry)
    return expanded


def _preset(entry: Fields) -> list[Fields]:
    """Write a preset's sources out: those that `only` selects, with the entry's other keys."""
    name = str(entry["preset"])
    members = load_preset(name)
    if "only" in entry and name in _families():
        members = [dict(m) for m in _families()[name].members]
    rest = {k: v for k, v in entry.items() if k not in ("preset", "only")}
    only = entry.get("only", ())
    patterns = (only,) if isinstance(only, str) else tuple(only)
    if patterns:
        known = [m["name"] for m in members]
        members = [m for m in members if any(_fits(m["name"], name, p) for p in patterns)]
        if not members:
            raise ValueError(f"no part of {name!r} is called {only!r}; it has {', '.join(known)}")
    if "name" in rest and len(members) > 1:
        raise ValueError(
            f"the preset {name!r} stands for {len(members)} sources, which can't all be named "
            f"{rest['name']!r}: leave out name, or name one of them, e.g. {members[0]['name']}"
        )
    return [_placed(m, rest) for m in members]


def _fits(member: str, family: str, pattern: str) -> bool:
    return fnmatchcase(member.removeprefix(family + "-"), pattern) or fnmatchcase(member, pattern)


def _placed(member: Fields, rest: Fields) -> Fields:
    """Override a preset's fields; another place takes the whole place's turn."""
    places = ("path", "hub", "deb", "pypi", "npm", "installed")
    if any(p in rest for p in places):
        member = {k: v for k, v in member.items() if k not in (*places, "root", "listing")}
    return _merged(member, rest)


def _include(name: str, folder: Path) -> list[Any]:
    import yaml

    places = [folder / name, Path(name)]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise ValueError(
            f"no source file {name!r} (looked at {', '.join(map(str, places))}); mend the path"
        )
    entries = yaml.safe_load(found.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise ValueError(f"{found} must hold a list of sources, got {type(entries).__name__}")
    return list(expand_sources(entries))
