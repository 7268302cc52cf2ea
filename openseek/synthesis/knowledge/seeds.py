"""Seed problems: from a JSONL, or the small set that ships."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openseek.config.recipes import KnowledgeConfig, RecipeConfig, SubjectField
from openseek.errors import ConfigError, DataError
from openseek.synthesis.rows import SourceDocument

_OWN = Path(__file__).with_name("seeds.yaml")
_OWN_LICENSE = "Apache-2.0"

_Text = Annotated[str, Field(min_length=1)]


class Seed(BaseModel):
    """A problem with its answer, and what it is about where that is known."""

    model_config = ConfigDict(frozen=True)

    id: _Text
    field: SubjectField
    lang: Literal["en", "zh"]
    problem: _Text
    answer: str = ""
    topics: tuple[str, ...] = ()
    key_points: tuple[str, ...] = ()
    license: str = "unknown"

    def source(self) -> SourceDocument:
        """Turn it into what a recipe is given."""
        text = "\n\n".join(p for p in (self.problem, self.answer) if p)
        given = {"field": self.field, "problem": self.problem, "answer": self.answer}
        return SourceDocument(
            self.id, text, self.lang, self.field == "code", "seeds", self.license, given=given
        )


def load_seeds(config: KnowledgeConfig) -> list[Seed]:
    """Read the seed problems, in the order of their ids.

    Raises:
        ConfigError: There is no such file.
        DataError: A line is no seed problem, or an id occurs twice.
    """
    path = Path(config.seeds) if config.seeds else _OWN
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"no seed problems: {error}", where="synthesis.knowledge.seeds",
            mend="Give the path of a JSONL file, or leave it empty for the set that ships.",
        ) from error  # fmt: skip
    if config.seeds:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [_read(line, path, n) for n, line in lines]
    else:
        found = [Seed(license=_OWN_LICENSE, **raw) for raw in yaml.safe_load(text)]
    found.sort(key=lambda s: s.id)
    for one, other in pairwise(found):
        if one.id == other.id:
            raise DataError(
                f"two seed problems have the id {one.id!r}", where=str(path),
                mend="Give each line an id of its own.",
            )  # fmt: skip
    return found


def _read(line: str, path: Path, number: int) -> Seed:
    try:
        return Seed(**json.loads(line))
    except (ValueError, TypeError) as error:
        what = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError(
            f"line {number} is no seed problem: {what}", where=str(path),
            mend='Each line needs at least {"id", "field": "math|code|commonsense", "lang": '
            '"en|zh", "problem"}.',
        ) from error  # fmt: skip


def fitting_seeds(recipe: RecipeConfig, config: KnowledgeConfig) -> list[Seed]:
    """Read the seed problems of a recipe's fields and languages; raises as `load_seeds` does."""
    found = load_seeds(config)
    return [s for s in found if s.field in recipe.fields and s.lang in recipe.languages]
