"""In what order recipes run, and what each piece of work is given.

A recipe that goes on from another one's rows, from annotated documents or from the teacher's tags
waits for them: it is of a later stage. Between stages the rows of `knowledge_tags` become
knowledge.json, those of `annotate` annotations.jsonl, and the documents an index to search. All of
it is decided by the configuration, the seed and committed answers, so a restarted step finds the
same pieces under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, ShardRecord
from openseek.artifacts.folder import FolderFiles
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.errors import DataError
from openseek.synthesis.drawing import Work, draw, draw_rows, load
from openseek.synthesis.generate import Outcome
from openseek.synthesis.knowledge import annotating, seeds, taxonomy
from openseek.synthesis.knowledge.sampling import sample
from openseek.synthesis.outcomes import read_answers
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.retrieval import write_index
from openseek.synthesis.rows import SourceDocument

KNOWLEDGE, ANNOTATIONS, RETRIEVAL = "knowledge-00000", "annotations-00000", "retrieval-00000"
_INDEX, _PASSAGES = "retrieval.npz", "retrieval-passages.parquet"


def stages(ctx: StepContext[SynthesisConfig], work: list[Work]) -> Iterator[list[Work]]:
    """Yield the pieces of each stage, which the caller answers before it asks for the next.

    Args:
        ctx: The step's context.
        work: Takes the pieces of all stages, in order.
    """
    levels = levels_of(ctx.config)
    for level in sorted(set(levels.values())):
        recipes = [r for r in ctx.config.recipes if levels[r.name] == level]
        pieces = _pieces(ctx, recipes, work)
        work += pieces
        yield pieces
    names = set(levels)
    if "knowledge_tags" in names:
        _knowledge(ctx, work)
    if "annotate" in names:
        _annotations(ctx, work)


def levels_of(config: SynthesisConfig) -> dict[str, int]:
    """Return the stage of each recipe: one above the last of those that it waits for."""
    levels: dict[str, int] = {}
    for recipe in config.recipes:
        waits = [n for n in recipe.needs if not (n == "annotate" and config.annotations)]
        if RECIPES[recipe.name].gives.startswith("knowledge") and not config.knowledge.path:
            waits.append("knowledge_tags")
        levels[recipe.name] = 1 + max((levels[n] for n in waits if n in levels), default=-1)
    return levels


def _pieces(
    ctx: StepContext[SynthesisConfig], recipes: Sequence[RecipeConfig], work: Sequence[Work]
) -> list[Work]:
    """Cut what the recipes of a stage are given into pieces, in the order of the recipes."""
    made: list[Work] = []
    if any(r.name == "long_cot_rag" and not r.index for r in recipes):
        _index(ctx)
    alike = all(RECIPES[r.name].gives == "documents" and not r.selects for r in recipes)
    for some in [recipes] if alike else [[r] for r in recipes]:  # one pass over the documents
        first = len(work) + len(made)
        made += _pieces_of(ctx, some, work, first)
    return made


def _pieces_of(
    ctx: StepContext[SynthesisConfig], recipes: Sequence[RecipeConfig], work: Sequence[Work],
    first: int,
) -> list[Work]:  # fmt: skip
    recipe, config = recipes[0], ctx.config
    gives = RECIPES[recipe.name].gives
    if gives == "documents":
        allowed: dict[str, frozenset[str]] = {
            r.name: _selected(ctx, r, work) for r in recipes if r.selects
        }
        return draw(ctx.inputs["documents"], config, ctx.seed, recipes, allowed, first)
    if gives.startswith("rows:"):
        if recipe.rows_from:
            return draw_rows(FolderFiles(recipe.rows_from), recipe, config, ctx.seed, first)
        return _after(ctx, recipe, gives.split(":")[1], work, first)
    if gives == "seeds":
        count = len(seeds.fitting_seeds(recipe, config.knowledge))
    else:
        _groups_for(recipe, ctx.config, ctx.out, lambda: _knowledge(ctx, work))
        count = recipe.max_documents
    size, count = config.shard_documents, min(count, recipe.max_documents)
    cuts = range(0, count, size)
    return [Work(first + i, recipe, span=(at, min(at + size, count))) for i, at in enumerate(cuts)]


def _after(
    ctx: StepContext[SynthesisConfig], recipe: RecipeConfig, earlier: str, work: Sequence[Work],
    first: int,
) -> list[Work]:  # fmt: skip
    """Make one piece for each piece of the earlier recipe, until `max_documents` rows."""
    done, made, left = ctx.out.shards(), list[Work](), recipe.max_documents
    for piece in work:
        if piece.recipe.name == earlier and left > 0:
            usable = len(_usable(read_answers(_file(ctx.out, done[piece.answers]))))
            span = (0, min(left, usable))
            left -= span[1]
            made.append(Work(first + len(made), recipe, of=piece.answers, span=span))
    return made


def load_sources(
    work: Work, documents: FileSet, out: Output, config: SynthesisConfig, seed: int
) -> list[SourceDocument]:
    """Read what a piece of work is given."""
    gives, span = RECIPES[work.recipe.name].gives, slice(*work.span)
    if work.of:
        outcomes = read_answers(_file(out, out.shards()[work.of]))
        return _usable(outcomes)[span]
    if gives == "seeds":
        return [seed.source() for seed in seeds.fitting_seeds(work.recipe, config.knowledge)[span]]
    if gives.startswith("knowledge"):
        groups = _groups_for(work.recipe, config, out, lambda: out.shards()[KNOWLEDGE])
        points = config.knowledge.key_points
        return [sample(groups, seed, work.recipe.name, i, points) for i in range(*work.span)]
    folder = FolderFiles(work.recipe.rows_from) if work.recipe.rows_from else documents
    return load(work, folder)


def with_index(recipe: RecipeConfig, out: Output) -> RecipeConfig:
    """Tell a recipe where the step's own index lies on this machine."""
    if recipe.name != "long_cot_rag" or recipe.index:
        return recipe
    # Intermediate files may lie in a folder of their own: the end of the name tells them apart.
    files = {f.name.rpartition(".")[2]: out.local(f) for f in out.shards()[RETRIEVAL].files}
    paths = {"index": files["npz"], "passages_file": files["parquet"]}
    return recipe.model_copy(update={k: str(path) for k, path in paths.items()})


def _usable(outcomes: Iterable[Outcome]) -> list[SourceDocument]:
    """Return the rows that passed the first checks, each as what the next recipe is given."""
    return [
        SourceDocument(**{**vars(o.document), "row": row})
        for o in outcomes
        for row, reason in o.rows
        if not reason
    ]


def _groups_for(
    recipe: RecipeConfig, config: SynthesisConfig, out: Output, record: Callable[[], ShardRecord]
) -> list[taxonomy.Group]:
    """Return the groups of topics that a recipe draws from.

    Raises:
        DataError: There is none of its fields and languages.
    """
    path = Path(config.knowledge.path) if config.knowledge.path else _file(out, record())
    _, _, field = RECIPES[recipe.name].gives.partition(":")
    fields = (field,) if field else recipe.fields
    groups = [
        g for g in taxonomy.read_groups(path) if g.field in fields and g.lang in recipe.languages
    ]
    if not groups:
        raise DataError(
            f"no topics for {recipe.name}: none of field {' or '.join(fields)} in "
            f"{' or '.join(recipe.languages)}", where="synthesis.knowledge",
            mend="Give seed problems of these fields and languages, or leave the recipe out.",
        )  # fmt: skip
    return groups


def _knowledge(ctx: StepContext[SynthesisConfig], work: Sequence[Work]) -> ShardRecord:
    """Build knowledge.json: of the teacher's tags, where it gave none of the seeds' own."""
    done = ctx.out.shards()
    if KNOWLEDGE in done:
        return done[KNOWLEDGE]
    tags = {
        o.document.id: row.extra
        for o in _outcomes(ctx, work, "knowledge_tags")
        for row, _ in o.rows
    }
    found = [
        s.model_copy(update=_names(tags[s.id])) if s.id in tags else s
        for s in seeds.load_seeds(ctx.config.knowledge)
    ]
    path = ctx.out.scratch / f"{os.getpid()}-{taxonomy.FILE}"
    taxonomy.write_groups(taxonomy.build_groups(found, ctx.config.knowledge), path)
    return ctx.out.commit_shard(KNOWLEDGE, {taxonomy.FILE: path})


def _names(extra: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(extra[key]) for key in ("topics", "key_points")}


def _annotations(ctx: StepContext[SynthesisConfig], work: Sequence[Work]) -> ShardRecord:
    """Write annotations.jsonl."""
    done = ctx.out.shards()
    if ANNOTATIONS in done:
        return done[ANNOTATIONS]
    rows = [
        (o.document.id, o.document.lang, row)
        for o in _outcomes(ctx, work, "annotate")
        for row, _ in o.rows
    ]
    path = ctx.out.scratch / f"{os.getpid()}-{annotating.FILE}"
    annotating.write_annotations(annotating.annotations_of(rows, ctx.config.knowledge), path)
    return ctx.out.commit_shard(ANNOTATIONS, {annotating.FILE: path}, rows=len(rows))


def _selected(
    ctx: StepContext[SynthesisConfig], recipe: RecipeConfig, work: Sequence[Work]
) -> frozenset[str]:
    given = ctx.config.annotations
    path = Path(given) if given else _file(ctx.out, _annotations(ctx, work))
    return annotating.fitting(annotating.read_annotations(path), recipe)


def _index(ctx: StepContext[SynthesisConfig]) -> None:
    if RETRIEVAL in ctx.out.shards():
        return
    index, passages = (ctx.out.scratch / f"{os.getpid()}-{n}" for n in (_INDEX, _PASSAGES))
    count = write_index(ctx.inputs["documents"], ctx.config.retrieval, ctx.seed, index, passages)
    files = {_INDEX: index, _PASSAGES: passages}
    ctx.out.commit_shard(RETRIEVAL, files, rows=count, final=False)


def _outcomes(
    ctx: StepContext[SynthesisConfig], work: Sequence[Work], recipe: str
) -> Iterator[Outcome]:
    done = ctx.out.shards()
    for piece in work:
        if piece.recipe.name == recipe:
            yield from read_answers(_file(ctx.out, done[piece.answers]))


def _file(out: Output, record: ShardRecord) -> Path:
    return out.local(record.files[0])
