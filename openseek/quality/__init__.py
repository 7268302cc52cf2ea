"""How good a document is, and whether it may be trained on.

heuristic           an explainable score from text statistics
fluency             bits per character under an n-gram model of the corpus itself
scorers             plug-ins: heuristic, transformer classifier, fastText
ensemble            raw scores of several scorers -> one score -> tiers
decontamination     evaluation items and held-out documents inside training text
kernels             the compiled loops that all of these share
step, decontamination_step
                    the steps `score` and `decontaminate`
"""

from openseek.quality.decontamination import (
    Decontaminator,
    Item,
    Match,
    compose_item,
    index_documents,
    index_items,
)
from openseek.quality.heuristic import explain
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
