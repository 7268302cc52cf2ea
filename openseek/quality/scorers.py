"""Scorers as plug-ins: texts in, one raw score each out.

A scorer is anything with a `name` and a `score_buffer`; `build_scorer` makes one from its
configuration. Models are loaded once a process and stay loaded.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.files import sha256_file
from openseek.config.quality import (
    FastTextScorerConfig,
    HeuristicScorerConfig,
    LinearScorerConfig,
    QualityConfig,
    ScorerConfig,
    TransformerScorerConfig,
)
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError
from openseek.quality.heuristic import heuristic_scores
from openseek.quality.linear import MODEL, WEIGHTS, LinearModel

Buffer = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class Scorer(Protocol):
    """Judges texts; higher is better. Scores need no common scale: the ensemble ranks them."""

    name: str

    def score_buffer(self, buf: Buffer, offsets: Offsets) -> NDArray[np.float32]:
        """Return one raw score a text, for texts in Arrow's layout; NaN: no opinion."""
        ...


class HeuristicScorer:
    """The weighted text statistics of `openseek.quality.heuristic`."""

    def __init__(self, config: HeuristicScorerConfig) -> None:
        self.name = config.name

    def score_buffer(self, buf: Buffer, offsets: Offsets) -> NDArray[np.float32]:
        """Return scores in [0, 1]."""
        return heuristic_scores(buf, offsets)


class LinearScorer:
    """The expected grade that a trained linear classifier gives."""

    def __init__(self, config: LinearScorerConfig, model: LinearModel | None = None) -> None:
        self.name = config.name
        self._model = model or load_linear(config.model)

    def score_buffer(self, buf: Buffer, offsets: Offsets) -> NDArray[np.float32]:
        """Return scores from 0 to the highest grade (5)."""
        return self._model.score_buffer(buf, offsets)


class FastTextScorer:
    """The probability that a supervised fastText model gives to one label."""

    def __init__(self, config: FastTextScorerConfig) -> None:
        self.name = config.name
        self.config = config
        self._model = _load_fasttext(config.model)

    def score_buffer(self, buf: Buffer, offsets: Offsets) -> NDArray[np.float32]:
        """Return probabilities in [0, 1]; 0 where the model does not know the label."""
        out = np.zeros(len(offsets) - 1, np.float32)
        for i in range(len(out)):
            text = buf[offsets[i] : offsets[i + 1]].tobytes().decode("utf-8")
            line = text[: self.config.max_chars].replace("\n", " ")
            labels, shares = self._model.predict(line, k=-1)
            found = dict(zip(labels, shares, strict=True))
            out[i] = min(1.0, float(found.get(self.config.label, 0.0)))
        return out


def build_scorer(config: ScorerConfig, model: LinearModel | None = None) -> Scorer:
    """Make the scorer that a configuration describes.

    Args:
        config: Its section.
        model: The classifier of a linear scorer, where it is not to be loaded from its folder.

    Raises:
        ConfigError: Its model is missing or cannot be read.
    """
    if isinstance(config, TransformerScorerConfig):
        from openseek.quality.transformer import TransformerScorer

        return TransformerScorer(config)
    if isinstance(config, FastTextScorerConfig):
        return FastTextScorer(config)
    if isinstance(config, LinearScorerConfig):
        return LinearScorer(config, model)
    return HeuristicScorer(config)


@lru_cache(maxsize=4)
def load_linear(folder: str) -> LinearModel:
    """Read a classifier from its folder.

    Raises:
        ConfigError: The folder is not given, or holds none.
    """
    if not folder:
        raise ConfigError(
            "a linear scorer names no model and this run trains none",
            where="quality.scorers",
            mend="Set its `model` to a folder that `openseek data train-classifier` wrote, or add "
            "the section `labelling`.",
        )
    return LinearModel.load(Path(folder) / MODEL, Path(folder) / WEIGHTS)


@lru_cache(maxsize=4)
def _load_fasttext(path: str) -> Any:
    import fasttext

    try:
        return fasttext.load_model(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot load the fastText model {path!r}: {error}",
            where="score.scorers",
            mend="Give the path of a supervised .bin or .ftz model.",
        ) from error


def snapshot(config: QualityConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    """Identify the models that scorers read: digests of their files by name, or the hub id."""
    found: dict[str, Any] = {}
    paths = [(s.name, getattr(s, "model", "")) for s in config.scorers]
    paths += [("bits_per_char", config.fluency.model), ("domain", config.domains.lexicon)]
    paths += [("domain_classifier", config.domains.classifier)]
    for name, place in paths:
        path = Path(place)
        if not place:
            continue
        if not path.exists():
            found[name] = place  # a hub id
            continue
        found[name] = digests(path)
    return found


def digests(path: Path) -> dict[str, str]:
    """Return the sha256 of a file, or of all files of a folder, by name."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in files}
