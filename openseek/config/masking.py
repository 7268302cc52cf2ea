"""What is hidden in documents: sensitive words, personal data and secrets."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, model_validator

from openseek.config.base import Section, runtime
from openseek.config.categories import PROSE, Kind

Severity = Literal["drop", "mask", "flag"]
PiiKind = Literal[
    "email", "ip", "phone", "id_number", "bank_card", "secret",
    "aws_key", "alibaba_key", "github_token", "gitlab_token", "slack_token", "google_key",
    "model_key", "huggingface_token", "stripe_key", "package_token", "service_token", "jwt",
    "private_key", "url_password", "credential",
]  # fmt: skip
"""What is masked. `secret` stands for all of `SECRET_KINDS`; each has a placeholder of its own."""
PERSONAL_KINDS: tuple[PiiKind, ...] = ("email", "ip", "phone", "id_number", "bank_card")
SECRET_KINDS: tuple[PiiKind, ...] = (
    "aws_key", "alibaba_key", "github_token", "gitlab_token", "slack_token", "google_key",
    "model_key", "huggingface_token", "stripe_key", "package_token", "service_token", "jwt",
    "private_key", "url_password", "credential",
)  # fmt: skip
"""`model_key`: of OpenAI, Anthropic, OpenRouter, DeepSeek, Groq. `service_token`: SendGrid,
DigitalOcean, Shopify, Telegram. `url_password`: of `scheme://user:password@host`. `credential`: a
random value that a name such as `api_key` is given, or one after `Bearer`."""


_ALL_PII: tuple[PiiKind, ...] = (*PERSONAL_KINDS, "secret")
_PII_OF: dict[Kind, tuple[PiiKind, ...]] = {
    "foundation": _ALL_PII,
    "cot": _ALL_PII,
    "code": ("email", "secret", "id_number"),
    "math": ("email", "secret"),
}


class WordList(Section):
    """A list of sensitive words: one `severity<TAB>word[<TAB>label]` per line, `#` comments."""

    path: str = runtime("builtin", "File of the list; `builtin` is the small list of our own.")
    sha256: str = Field("", description="Digest of the file; empty: taken when the config loads.")

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, data: Any) -> Any:
        """Put the content, not the path, into the step's identity."""
        if isinstance(data, str):
            data = {"path": data}
        if not isinstance(data, dict):
            return data
        path = data.get("path", "builtin")
        content = read_words(str(path))
        digest = hashlib.sha256(content).hexdigest()
        if data.get("sha256") not in (None, "", digest):
            raise ValueError(
                f"the word list {path!r} has digest {digest}, not the given one: "
                "restore the file, or leave sha256 empty to take it as it is"
            )
        return {**data, "sha256": digest}


def read_words(path: str) -> bytes:
    """Read a word list; `builtin` is the one that ships with the package."""
    if path == "builtin":
        return (files("openseek") / "cleaning" / "words" / "default.txt").read_bytes()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the word list {path!r} ({error}): check the path") from error


class WordsConfig(Section):
    """Sensitive words."""

    lists: tuple[WordList, ...] = Field(
        default_factory=lambda: (WordList(),), description="Word lists; empty: no check."
    )
    categories: tuple[Kind, ...] = Field(PROSE, description="Categories that are checked.")
    drop_hits: int = Field(
        3, description="Occurrences of `drop` words that drop a document (own choice).", ge=1
    )
    mask: str = Field("***", description="What replaces a `mask` word.")


class PiiConfig(Section):
    """Personal data and secrets, replaced by typed placeholders such as <EMAIL>."""

    enabled: bool = Field(True, description="Mask.")
    kinds: dict[Kind, tuple[PiiKind, ...]] = Field(
        default_factory=lambda: dict(_PII_OF),
        description="Category -> what is masked (`secret`: all keys, tokens and passwords, or name "
        "single kinds); numbers of code and mathematics are left alone.",
    )

    def of(self, category: str) -> tuple[PiiKind, ...]:
        """Say what is masked in documents of a category."""
        return self.kinds.get(cast(Kind, category), ()) if self.enabled else ()
