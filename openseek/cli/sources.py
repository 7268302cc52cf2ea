"""`openseek data sources`: the corpora that are known by name, and how to use them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from openseek.config.sources import SourceConfig

SHOWN = 12
"""A corpus of more parts than this is one line in the list of all."""
HEADS = ("preset", "category", "lang", "tier", "licence", "size", "tokens", "what it is")


def sources(
    name: Annotated[str, typer.Argument(help="A corpus, for all of its parts. Empty: all.")] = "",
    mixture: Annotated[
        bool, typer.Option(help="Print the parts' published weights as a stage's mixture (YAML).")
    ] = False,
    markdown: Annotated[bool, typer.Option(help="Print the list as a Markdown table.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="One JSON object as stdout's last line.")
    ] = False,
) -> None:
    """List the corpora that `{preset: NAME}` stands for in a list of sources."""
    from openseek.cli.tables import console, table

    members = _members(name)
    if mixture:
        print(_mixture(name, members), end="")
    elif json_:
        print(json.dumps({"sources": [_record(s) for s in members]}, ensure_ascii=False))
    elif markdown:
        print(markdown_table())
    else:
        table(HEADS, [row for row, _ in _rows(members, collapse=not name)])
        console.print(
            "\nUse one as `- preset: NAME` in a list of sources; `root` says where a copy of it "
            "lies, `only` which parts. Sizes are as published, about."
        )


def markdown_table() -> str:
    """Return the list of all corpora as a Markdown table."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    for row, card in _rows(_members(""), collapse=True):
        cells = [f"[`{row[0]}`]({card})", *row[1:]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _members(name: str) -> list[SourceConfig]:
    """Return the sources of a corpus, or of all of them.

    Raises:
        ConfigError: There is none of that name.
    """
    from openseek.config.source_presets import load_preset, preset_families
    from openseek.config.sources import SourceConfig
    from openseek.errors import ConfigError

    families = preset_families()
    names = families.get(name, [name]) if name else [m for f in families.values() for m in f]
    try:
        return [SourceConfig.model_validate(f) for n in names for f in load_preset(n)]
    except ValueError as error:
        raise ConfigError(str(error), mend="`openseek data sources` lists all.") from None


def _rows(members: list[SourceConfig], collapse: bool) -> list[tuple[list[str], str]]:
    """Return (cells, card) of each line; large corpora are one line where `collapse` is set."""
    from openseek.config.source_presets import preset_families

    shown = {m.name: m for m in members}
    rows = []
    for family, names in preset_families().items():
        here = [shown[n] for n in names if n in shown]
        if collapse and len(here) > SHOWN:
            rows.append((_collapsed(family, here), here[0].card))
        else:
            rows += [(_cells(s), s.card) for s in here]
    return rows


def _cells(source: SourceConfig) -> list[str]:
    from openseek.units import format_bytes, format_count

    size = format_bytes(source.expected_bytes) if source.expected_bytes else ""
    tokens = format_count(source.expected_tokens) if source.expected_tokens else ""
    return [
        source.name, source.category, source.lang, source.tier, _licence(source.license), size,
        tokens, source.about,
    ]  # fmt: skip


def _licence(expression: str) -> str:
    return expression.replace("LicenseRef-", "")


def _collapsed(family: str, members: list[SourceConfig]) -> list[str]:
    def every(field: str) -> str:
        return ", ".join(dict.fromkeys(str(getattr(m, field)) for m in members))

    from openseek.config.source_presets import describe_family
    from openseek.units import format_bytes, format_count

    whole: dict[str, Any] = describe_family(family)
    size, tokens = whole["expected_bytes"], whole["expected_tokens"]
    return [
        family, every("category"), every("lang"), "", _licence(every("license")),
        format_bytes(size) if size else "", format_count(tokens) if tokens else "",
        f"{members[0].about}; {len(members)} parts",
    ]  # fmt: skip


def _record(source: SourceConfig) -> dict[str, Any]:
    fields = (
        "name", "category", "lang", "tier", "license", "expected_bytes", "expected_tokens",
        "weight", "reader", "root", "path", "about", "card",
    )  # fmt: skip
    return {f: getattr(source, f) for f in fields}


def _mixture(name: str, members: list[SourceConfig]) -> str:
    """Write a mixture with a group for each source, weighted as published.

    Raises:
        ConfigError: A source has no weight.
    """
    import yaml

    from openseek.errors import ConfigError

    bare = [s.name for s in members if s.weight is None]
    if bare:
        raise ConfigError(
            f"{bare[0]} was published without a weight",
            where=name or "data sources", mend="Name a corpus with weights: openseek-100b.",
        )  # fmt: skip
    groups = {
        s.name: {"category": s.category, "source": [s.name], "weight": s.weight} for s in members
    }
    mixture = {"normalise": True, "groups": groups}
    return str(yaml.safe_dump({"mixture": mixture}, sort_keys=False, default_flow_style=None))
