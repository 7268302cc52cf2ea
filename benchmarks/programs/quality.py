"""What `data_quality.py` times: one job a process, on a folder of shards.

    quality.py classify-ours|classify-fasttext FOLDER MODEL
    quality.py contaminated-ours|contaminated-datatrove FOLDER ITEMS

`classify` predicts the source of every document with a classifier that `train-…` made before;
`contaminated` lists the documents that hold an evaluation item. The last line is a JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

READ_CHARS = 4096
TEST_EVERY = 5


def shards(folder: str) -> list[tuple[list[str], list[str], list[str]]]:
    """Read (ids, texts, sources) of each shard."""
    tables = [pq.read_table(p) for p in sorted(Path(folder).glob("*.parquet"))]
    return [tuple(t[c].to_pylist() for c in ("id", "text", "source")) for t in tables]


def flat(folder: str) -> tuple[list[str], list[str]]:
    """Return all texts, cut to what is read, with their sources."""
    found = shards(folder)
    return [t[:READ_CHARS] for s in found for t in s[1]], [x for s in found for x in s[2]]


def train_ours(folder: str, model: str) -> None:
    """Train our classifier on four fifths of the documents."""
    from openseek.config.labelling import ClassifierConfig
    from openseek.quality.linear import Sample, train

    texts, sources = flat(folder)
    names = sorted(set(sources))
    rows = [i for i in range(len(texts)) if i % TEST_EVERY]
    grades = [names.index(s) for s in sources]
    parts = [rows[i::10] for i in range(10)]
    learn = [i for part in parts[1:] for i in part]
    samples = [Sample.of([texts[i] for i in p], [grades[i] for i in p]) for p in (learn, parts[0])]
    config = ClassifierConfig(epochs=5, read_chars=READ_CHARS)
    trained, _ = train(*samples, config, len(names), 0)
    trained.about["classes"] = names
    trained.save(Path(model))


def classify_ours(folder: str, model: str) -> Any:
    """Predict with our classifier."""
    import numpy as np

    from openseek.quality.linear import MODEL, WEIGHTS, LinearModel
    from openseek.quality.tables import text_buffer

    loaded = LinearModel.load(Path(model) / MODEL, Path(model) / WEIGHTS)
    names, guesses, sources = loaded.about["classes"], [], []
    for path in sorted(Path(folder).glob("*.parquet")):
        table = pq.read_table(path, columns=["text", "source"])
        probabilities = loaded.probabilities(*text_buffer(table["text"]))
        guesses += [names[i] for i in np.argmax(probabilities, axis=1).tolist()]
        sources += table["source"].to_pylist()
    return _accuracy(guesses, sources)


def train_fasttext(folder: str, model: str) -> None:
    """Train fastText on the same documents (word bigrams; its other defaults, 5 epochs)."""
    import fasttext

    texts, sources = flat(folder)
    path = Path(model) / "train.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for i, (text, source) in enumerate(zip(texts, sources, strict=True)):
            if i % TEST_EVERY:
                out.write(f"__label__{source} {' '.join(text.split())}\n")
    trained = fasttext.train_supervised(
        str(path), wordNgrams=2, lr=0.5, epoch=5, bucket=1 << 20, thread=1, verbose=0
    )
    trained.save_model(str(Path(model) / "model.bin"))


def classify_fasttext(folder: str, model: str) -> Any:
    """Predict with fastText."""
    import fasttext

    loaded = fasttext.load_model(str(Path(model) / "model.bin"))
    texts, sources = flat(folder)
    labels = loaded.predict([" ".join(t.split()) for t in texts])[0]
    return _accuracy([row[0].removeprefix("__label__") for row in labels], sources)


def _accuracy(guesses: list[str], sources: list[str]) -> Any:
    test = range(0, len(sources), TEST_EVERY)
    return {"accuracy": round(sum(guesses[i] == sources[i] for i in test) / len(test), 4)}


def contaminated_ours(folder: str, items: str) -> Any:
    """Look for items with our scan."""
    from openseek.artifacts.folder import FolderFiles
    from openseek.config.quality import DecontaminationConfig
    from openseek.quality import Decontaminator, index_items
    from openseek.quality.items import load_items
    from openseek.quality.tables import text_buffer

    config = DecontaminationConfig()
    judge = Decontaminator(config, index_items(load_items(FolderFiles(items))[0], config))
    found: list[str] = []
    for path in sorted(Path(folder).glob("*.parquet")):
        table = pq.read_table(path, columns=["id", "text"])
        matches = judge.check_buffer(*text_buffer(table["text"]))
        ids = table["id"].to_pylist()
        found += [ids[i] for i, m in enumerate(matches) if m]
    return {"found": sorted(found)}


def contaminated_datatrove(folder: str, items: str) -> Any:
    """Look for items with datatrove's 12-gram filter; its index step wants lighteval, so not it."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.decont import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    config = NGramsDecontConfig(n_grams=12, find_query_ngrams=True)
    index = Path(items).parent / "index"
    index.mkdir(exist_ok=True)
    (index / "bench.index.hashes").write_bytes(b"")
    judge = NGramsDecontFilter(str(index), config=config)
    judge._index_hashes = {}
    rows = [json.loads(x) for p in Path(items).glob("*.jsonl") for x in p.open(encoding="utf-8")]
    for row in rows:
        words = judge.tokenizer.word_tokenize(simplify_text(row["text"], config.norm_config))
        for gram in ngrams(words, 12):
            judge._index_hashes[np.uint64(judge.hash_func(" ".join(gram)))] = "bench"
    found = []
    for ids, texts, _ in shards(folder):
        for doc_id, text in zip(ids, texts, strict=True):
            if judge.filter(Document(text=text, id=doc_id, metadata={})) is not True:
                found.append(doc_id)
    return {"found": sorted(found)}


if __name__ == "__main__":
    job, *given = sys.argv[1:]
    answer = globals()[job.replace("-", "_")](*given)
    print(json.dumps(answer or {}))
