"""The recipes of synthesis: which ones there are, and what each is given."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from openseek.config.base import Section, runtime

RecipeName = Literal[
    "simple_qa", "long_cot_backward", "long_cot_forward", "long_cot_rag", "rephrase",
    "knowledge_tags", "annotate", "key_points", "rl_math", "rl_code", "rl_commonsense",
    "rl_writing", "rl_translation",
]  # fmt: skip
RephraseKind = Literal["diverse_qa", "distill", "extract_knowledge", "knowledge_list", "wiki"]
SubjectField = Literal["math", "code", "commonsense"]
Suits = Literal["simple_qa", "long_cot"]

BY_RULE: tuple[RecipeName, ...] = ("simple_qa", "long_cot_backward")
"""Recipes that the extractive teacher can answer."""

NEEDS: dict[RecipeName, RecipeName] = {
    "long_cot_forward": "long_cot_backward",
    "long_cot_rag": "long_cot_backward",
}
"""Recipes that go on from another one's rows."""


class RecipeConfig(Section):
    """One recipe and the documents it is given."""

    name: RecipeName = Field(description="Recipe, see openseek.synthesis.recipes.")
    max_documents: int = Field(
        1000,
        description="Documents drawn for it at most; for recipes that go on from rows, seeds or "
        "key points: rows, seeds or samples at most.",
        ge=0,
    )
    categories: tuple[str, ...] = Field(
        ("foundation", "code", "math"), description="Categories the documents are drawn from."
    )
    tiers: tuple[str, ...] = Field((), description="Only these quality tiers. Empty: all.")
    category: Literal["foundation", "code", "math", "cot"] = Field(
        "cot", description="Category of its documents, by which mixtures select them."
    )
    suits: Suits | None = Field(
        None, description="Only documents that `annotate` found to suit this. None: all."
    )
    topics: tuple[str, ...] = Field(
        (), description="Only documents that `annotate` gave one of these topics. Empty: all."
    )
    min_chars: int = Field(400, description="Shorter documents are not drawn.", ge=1)
    read_chars: int = Field(
        8192, description="Characters of a document the teacher sees (OpenSeek: 8,192).", ge=200
    )
    chars_per_item: int = Field(
        800, description="simple_qa and rephrase: one pair for so many characters of the document.",
        ge=50,
    )  # fmt: skip
    max_items: int = Field(
        8, description="simple_qa and rephrase: pairs a document at most (Nemotron-CC: 8). Chains: "
        "segments.",
        ge=2,
    )  # fmt: skip
    cut_without_markers: bool = Field(
        False,
        description="long_cot_backward: where the teacher's markers are not found in the document, "
        "cut it evenly at sentence ends instead of failing. For small models.",
    )
    kinds: tuple[RephraseKind, ...] = Field(
        get_args(RephraseKind), description="rephrase: forms that each document is rewritten in."
    )
    with_document: bool = Field(
        False,
        description="rephrase: put the document before the pairs of diverse_qa, as Nemotron-CC "
        "does. Such rows are mostly copies: raise verification.max_copy to 1 with it.",
    )
    fields: tuple[SubjectField, ...] = Field(
        get_args(SubjectField), description="knowledge_tags and key_points: fields of the seeds."
    )
    languages: tuple[Literal["en", "zh"], ...] = Field(
        ("en", "zh"), description="Key-point and RL recipes: languages of seeds and problems."
    )
    solutions: int = Field(
        3, description="key_points, rl_math, rl_commonsense: solutions that vote on the answer.",
        ge=1,
    )  # fmt: skip
    min_votes: float = Field(
        0.5, description="Share of all solutions that must give the winning answer.", gt=0, le=1
    )
    min_overlap: float = Field(
        0.6,
        description="long_cot_forward and long_cot_rag: from this share of the reference answer's "
        "words an answer agrees with it; below, the teacher is asked whether both say the same.",
        gt=0, le=1,
    )  # fmt: skip
    ask_agreement: bool = Field(
        True, description="Ask the teacher where the words alone do not show agreement."
    )
    turns: int = Field(4, description="long_cot_rag: searches of a row at most.", ge=1)
    passages: int = Field(3, description="long_cot_rag: passages of one search.", ge=1)
    search_by: Literal["stop", "json"] = Field(
        "stop",
        description="long_cot_rag: how searches are asked for: markers inside the reasoning, on "
        "which the endpoint stops, or one JSON object a turn, for endpoints that know no stop.",
    )
    rows_from: str = Field(
        "",
        description="Folder with the rows (parquet) that the recipe goes on from. Empty: those of "
        "the recipe in the same step.",
    )
    index: str = runtime(
        "", "long_cot_rag: file of a retrieval index. Empty: one of the step's own documents."
    )
    passages_file: str = runtime("", "long_cot_rag: file with the passages of that index.")

    @property
    def selects(self) -> bool:
        """Whether it needs annotated documents."""
        return bool(self.suits or self.topics)

    @property
    def needs(self) -> tuple[RecipeName, ...]:
        """Recipes of the same step that must come before this one, unless a path is given."""
        found: list[RecipeName] = ["annotate"] if self.selects else []
        if self.name in NEEDS and not self.rows_from:
            found.append(NEEDS[self.name])
        return tuple(found)


class KnowledgeConfig(Section):
    """Seed problems, and how their topics and key points become samples for new problems."""

    seeds: str = Field(
        "",
        description="JSONL of seed problems: id, field, lang, problem, answer and, where known, "
        "topics and key_points. Empty: the small set that ships.",
    )
    path: str = Field(
        "",
        description="knowledge.json of an earlier step. Empty: of `knowledge_tags` in this step, "
        "else of the tags that the seeds have.",
    )
    min_similarity: float = Field(
        0.7,
        description="Names from this similarity are one topic or key point: Dice coefficient of "
        "their character pairs, or cosine with embedding_model.",
        gt=0, le=1,
    )  # fmt: skip
    embedding_model: str = Field(
        "", description="Folder of a Hugging Face encoder for the similarity. Empty: lexical."
    )
    key_points: int = Field(4, description="Key points of a sample at most.", ge=1)


class RetrievalConfig(Section):
    """The search index over the step's own documents."""

    passage_chars: int = Field(
        1200, description="Characters of a passage at most; cut at paragraphs and sentences.",
        ge=100,
    )  # fmt: skip
    max_passages: int = Field(
        100_000,
        description="Passages at most, by hash of (seed, document). One takes about 3 kB of "
        "memory while the index is built and 2 kB while it is searched.",
        ge=1,
    )
    k1: float = Field(1.2, description="BM25: how soon repeats of a term stop counting.", ge=0)
    b: float = Field(0.75, description="BM25: how much long passages are discounted.", ge=0, le=1)
