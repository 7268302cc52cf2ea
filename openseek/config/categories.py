"""Categories of documents, as cleaning and mixtures name them."""

from __future__ import annotations

from typing import Literal

Kind = Literal["foundation", "code", "math", "cot"]
PROSE: tuple[Kind, ...] = ("foundation", "cot")
NATURAL: tuple[Kind, ...] = ("foundation", "math", "cot")
