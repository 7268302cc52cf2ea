"""What a document is about: science, law, code, conversation and so on.

Keywords vote for their domain (a word that several domains list tells none); the domain with
clearly the most evidence names the document, else it is `general`. The label goes into
`meta.domain`; the perplexity cut is made within it, and mixtures select by it.

CCI4.0 uses a classifier of 26 web-page domains for this. A lexicon needs no model and says why;
where labels exist, a linear classifier that learned them takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import DomainsConfig
from openseek.errors import ConfigError
from openseek.quality.heuristic import hash_table, pack
from openseek.quality.linear import MODEL, WEIGHTS, LinearModel

GENERAL = "general"
LEXICON = Path(__file__).parent / "lexicons" / "domains.yaml"


@dataclass(frozen=True)
class Lexicon:
    """Keywords as a table for the kernel.

    Attributes:
        domains: Names, sorted.
        table: Window hashes of the keywords.
        slots: Index of each slot's keyword.
        topics: Domain of each keyword.
        weights: Weight of each keyword.
        longest: Tokens of the longest one.
    """

    domains: tuple[str, ...]
    table: NDArray[np.uint64]
    slots: NDArray[np.int32]
    topics: NDArray[np.int32]
    weights: NDArray[np.float32]
    longest: int


def label_domains(
    buf: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    config: DomainsConfig,
    model: LinearModel | None = None,
) -> list[str]:
    """Name the domain of each text in Arrow's layout.

    Args:
        buf: UTF-8 bytes of all texts.
        offsets: Text boundaries.
        config: The section.
        model: A classifier of domains; None: keywords.

    Raises:
        ConfigError: The lexicon cannot be read.
    """
    if model is not None:
        return model.label_buffer(buf, offsets, config.min_probability, GENERAL)
    from openseek.quality.kernels.topics import topic_evidence

    words = load_lexicon(config.lexicon)
    evidence = topic_evidence(
        buf, offsets, config.read_chars, words.longest, words.table, words.slots, words.topics,
        words.weights, len(words.domains),
    )  # fmt: skip
    if not len(evidence):
        return []
    ranked = np.sort(evidence, axis=1)
    first = ranked[:, -1]
    second = ranked[:, -2] if evidence.shape[1] > 1 else np.zeros_like(first)
    clear = (first >= max(config.min_evidence, 1e-6)) & (first >= config.margin * second)
    names = np.array([*words.domains, GENERAL], dtype=object)
    return list(names[np.where(clear, evidence.argmax(axis=1), len(words.domains))])


def domain_names(config: DomainsConfig) -> tuple[str, ...]:
    """List the labels that documents can get.

    Raises:
        ConfigError: The lexicon, or the classifier, cannot be read.
    """
    if config.classifier:
        return (*(x for x in load_labeller(config.classifier).labels if x != GENERAL), GENERAL)
    return (*read_lexicon(config.lexicon), GENERAL)


def load_labeller(folder: str) -> LinearModel:
    """Read a classifier of domains from its folder.

    Raises:
        ConfigError: There is none, or it learned grades.
    """
    return checked_labeller(LinearModel.load(Path(folder) / MODEL, Path(folder) / WEIGHTS), folder)


def checked_labeller(model: LinearModel, where: str) -> LinearModel:
    """Refuse a classifier that has grades where names are needed.

    Raises:
        ConfigError: It learned grades.
    """
    if not model.labels:
        raise ConfigError(
            "the classifier gives grades, not labels", where=where,
            mend="Train one with `openseek data train-domains`.",
        )  # fmt: skip
    return model


@lru_cache(maxsize=4)
def load_lexicon(path: str = "") -> Lexicon:
    """Read a lexicon: YAML of {domain: {language: words separated by commas}}.

    Raises:
        ConfigError: The file is missing, or of another shape.
    """
    from openseek.quality.kernels import tokenize, window_hashes

    listed = read_lexicon(path)
    owners: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for at, words in enumerate(listed.values()):
        for word in words:
            buf, offsets = pack([word])
            hashes = tokenize(buf, 0, int(offsets[1]))[0]
            if len(hashes):
                owners[int(window_hashes(hashes, len(hashes))[0])].append((at, len(hashes)))
    keys, topics, weights = [], [], []
    for key, domains in owners.items():
        at, length = domains[0]
        if len({d for d, _ in domains}) == 1:  # a word of several domains tells none
            keys.append(key)
            topics.append(at)
            weights.append(np.sqrt(length))  # a phrase says more than a word
    table, slots = hash_table(np.array(keys, np.uint64))
    return Lexicon(
        tuple(listed), table, slots, np.array(topics, np.int32), np.array(weights, np.float32),
        max((length for domains in owners.values() for _, length in domains), default=1),
    )  # fmt: skip


def read_lexicon(path: str = "") -> dict[str, set[str]]:
    """Read the keywords of each domain, sorted by domain.

    Raises:
        ConfigError: The file is missing, or of another shape.
    """
    import yaml

    place = Path(path) if path else LEXICON
    try:
        raw = yaml.safe_load(place.read_text(encoding="utf-8"))
        return {str(d): _keywords(by_lang) for d, by_lang in sorted(raw.items())}
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"no lexicon of domains: {error}", where=str(place),
            mend="Write YAML of the shape {domain: {en: 'word, two words', zh: '词, 词'}}.",
        ) from error  # fmt: skip


def _keywords(by_lang: dict[str, str]) -> set[str]:
    words = {w.strip() for text in by_lang.values() for w in text.split(",") if w.strip()}
    plural = {f"{w}s" for w in words if w.isascii() and w.isalpha() and not w.endswith("s")}
    return words | plural
