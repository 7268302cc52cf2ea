"""A linear classifier of texts over hashed n-grams: train, save, load, score.

The fastText kind of model, small enough to read a corpus at tens of megabytes a second and core.
Classes are grades 0 to K-1 (K = 2 for good and bad), and a text's score is its expected grade; or
names, such as domains, and a text gets the most probable one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.config.labelling import LinearTrainingConfig
from openseek.errors import ConfigError, DataError
from openseek.quality.heuristic import pack

MODEL, WEIGHTS = "classifier.json", "classifier.safetensors"
FEATURES_VERSION = 1


@dataclass(frozen=True)
class LinearModel:
    """A trained classifier.

    Attributes:
        shape: int64 array for the kernels: buckets, word and CJK n-gram, character n-grams, limit.
        weights: float32 (buckets, classes), read-only.
        bias: float32 (classes,), read-only.
        about: Who graded, with which prompts, and the agreement with them; `labels` are the
            classes' names, where they are no grades.
    """

    shape: NDArray[np.int64]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    about: dict[str, Any]

    def probabilities(
        self, buf: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the probability of each class, (texts, classes), for texts in Arrow's layout."""
        from openseek.quality.kernels.linear import linear_probabilities

        return linear_probabilities(buf, offsets, self.shape, self.weights, self.bias)

    def score_buffer(
        self, buf: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the expected grade of each text, from 0 to classes - 1."""
        grades = np.arange(len(self.bias), dtype=np.float32)
        return self.probabilities(buf, offsets) @ grades

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; empty where they are grades."""
        return tuple(self.about.get("labels", ()))

    def label_buffer(
        self, buf: NDArray[np.uint8], offsets: NDArray[np.int64], least: float, otherwise: str
    ) -> list[str]:
        """Return the most probable label of each text, or `otherwise` below a probability."""
        p = self.probabilities(buf, offsets)
        names = np.array([*self.labels, otherwise], dtype=object)
        first = p.argmax(axis=1)
        sure = p[np.arange(len(p)), first] >= least
        return list(names[np.where(sure, first, len(self.labels))])

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the expected grade of each text."""
        return self.score_buffer(*pack(texts))

    def save(self, folder: Path) -> dict[str, Path]:
        """Write the model; return its files by name."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        body = {"features": FEATURES_VERSION, "shape": self.shape.tolist(), "about": self.about}
        text = json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True)
        (folder / MODEL).write_text(text + "\n", encoding="utf-8")
        arrays = {"weights": self.weights.astype(np.float16), "bias": self.bias.copy()}
        (folder / WEIGHTS).write_bytes(save(arrays))
        return {name: folder / name for name in (MODEL, WEIGHTS)}

    @staticmethod
    def load(model: Path, weights: Path) -> LinearModel:
        """Read a model's two files.

        Raises:
            ConfigError: One is missing, damaged, or of another version.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        mend = "Give a folder that `openseek data train-classifier` wrote, or train one again."
        try:
            body = json.loads(model.read_text(encoding="utf-8"))
            arrays = load_file(weights)
            shape = np.array(body["shape"], np.int64)
            table, bias = arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32)
            if body["features"] != FEATURES_VERSION:
                raise ValueError(f"features version {body['features']}, not {FEATURES_VERSION}")
            if len(body.get("about", {}).get("labels", bias)) != len(bias):
                raise ValueError(f"{len(body['about']['labels'])} labels for {len(bias)} classes")
            if shape.shape != (6,) or table.shape != (shape[0], len(bias)):
                raise ValueError(f"weights of shape {table.shape} for {shape.tolist()}")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ConfigError(
                f"cannot load the classifier: {type(error).__name__}: {error}",
                where=str(model.parent), mend=mend,
            ) from error  # fmt: skip
        return LinearModel(_frozen(shape), _frozen(table), _frozen(bias), body.get("about", {}))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Make an array read-only, as it arrives from Ray: one compiled version of each kernel."""
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Sample:
    """Texts with their classes.

    Attributes:
        buf: UTF-8 bytes of all texts.
        offsets: Text boundaries.
        grades: Class of each text.
    """

    buf: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    grades: NDArray[np.int64]

    @staticmethod
    def of(texts: Sequence[str], grades: Sequence[int]) -> Sample:
        """Lay texts out for the kernels."""
        return Sample(*pack(texts), np.asarray(grades, np.int64))


def train(
    learn: Sample, validate: Sample, config: LinearTrainingConfig, classes: int, seed: int
) -> tuple[LinearModel, list[dict[str, float]]]:
    """Learn from one sample; keep the pass with the lowest loss on the other.

    The same samples, configuration and seed give the same weights.

    Args:
        learn: What is learned from.
        validate: What decides when to stop.
        config: Features and step size.
        classes: Number of classes.
        seed: Decides the order of the texts.

    Returns:
        The model, and the losses of each pass in nats.

    Raises:
        DataError: There is nothing to learn from.
    """
    from openseek.quality.kernels.linear import linear_epoch

    if not len(learn.grades) or not len(validate.grades):
        raise DataError(
            f"{len(learn.grades)} labels to learn from and {len(validate.grades)} to validate",
            where="train-classifier",
            mend="Label more documents: at least some hundreds.",
        )
    shape = features_of(config)
    weights, bias = np.zeros((shape[0], classes), np.float32), np.zeros(classes, np.float32)
    seen, seen_bias = np.zeros_like(weights), np.zeros_like(bias)
    random = np.random.Generator(np.random.PCG64(seed))
    best: tuple[float, NDArray, NDArray] | None = None
    passes: list[dict[str, float]] = []
    waited = 0
    for _ in range(config.epochs):
        order = random.permutation(len(learn.grades))
        loss = linear_epoch(
            learn.buf, learn.offsets, order, learn.grades, shape, config.rate, weights, bias,
            seen, seen_bias,
        )  # fmt: skip
        snapshot = LinearModel(shape, _frozen(weights.copy()), _frozen(bias.copy()), {})
        held = log_loss(snapshot, validate)
        passes.append({"learn": round(loss, 5), "validate": round(held, 5)})
        if best is None or held < best[0]:
            best, waited = (held, snapshot.weights, snapshot.bias), 0
        else:
            waited += 1
        if waited >= config.patience:
            break
    assert best is not None
    stored = best[1].astype(np.float16).astype(np.float32)  # what `save` keeps
    return LinearModel(shape, _frozen(stored), best[2], {}), passes


def features_of(config: LinearTrainingConfig) -> NDArray[np.int64]:
    """Return the `shape` that the kernels take."""
    low, high = config.char_ngrams
    values = (1 << config.bucket_bits, config.word_ngrams, config.cjk_ngrams, low, high)
    return _frozen(np.array([*values, config.read_chars], np.int64))


def log_loss(model: LinearModel, sample: Sample) -> float:
    """Return the mean negative log-probability of the right class, in nats."""
    everything = model.probabilities(sample.buf, sample.offsets)
    p = everything[np.arange(len(sample.grades)), sample.grades]
    return float(-np.log(np.maximum(p, 1e-12)).mean())
