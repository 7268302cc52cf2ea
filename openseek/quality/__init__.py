"""How good a document is, and whether it may be trained on.

heuristic           an explainable score from text statistics
fluency             bits per character under an n-gram model of the corpus itself
linear              a classifier over hashed n-grams: train, save, load, score
agreement           how well a scorer agrees with a teacher's grades
transformer         sequence classifiers, and causal models for perplexity
scorers             plug-ins: heuristic, linear, transformer, fastText
domains             what a document is about, by a lexicon or a classifier
labels              labelled rows of any usual file, for such a classifier to learn from
ensemble            raw scores of several scorers -> one score -> tiers
plan                cuts and quantiles over all shards
items               evaluation items from files of any usual shape
ngram_index         the table of n-grams that texts are compared with
decontamination     evaluation items and held-out documents inside training text
kernels             the compiled loops that all of these share
step, decontamination_step, classifier_step, domains_step
                    the steps `score`, `decontaminate`, `classifier` and `domains`
"""

from openseek.quality.decontamination import (
    Decontaminator,
    Match,
    index_documents,
    index_items,
)
from openseek.quality.heuristic import explain
from openseek.quality.items import Item, compose_item
from openseek.quality.scorers import Scorer, build_scorer

__all__ = [
    "Decontaminator",
    "Item",
    "Match",
    "Scorer",
    "build_scorer",
    "compose_item",
    "explain",
    "index_documents",
    "index_items",
]
