"""Long-CoT-RAG: reasoning that searches our own corpus where it needs a fact, after Search-o1.

It is given rows of long_cot_backward. Whenever the reasoning asks for something, the best passages
are read in a request of their own (reason in documents), and only what was found there goes into
the reasoning. All unfinished rows take one turn a round; the turns of a row are bounded. With
`search_by: stop` the model writes freely and the endpoint stops at the end of a search request;
with `json` each turn is one JSON object, for endpoints that cannot stop. The row keeps
{query, steps, answer} and its searches, and stays only if its answer agrees with the document's.

Source: Search-o1 (2501.05366). Here the reasoning so far goes into each request as text, because
chat endpoints differ in whether they go on with an answer that is begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.agreement import agrees
from openseek.synthesis.recipes.rag_prompts import (
    BEGIN_RESULT,
    BEGIN_SEARCH,
    CLOSE,
    END_RESULT,
    END_SEARCH,
    FOUND,
    LIMIT,
    NOTHING,
    READ,
    REPEATED,
    SYSTEM,
    TURN_FREE,
    TURN_JSON,
    Turn,
)  # fmt: skip
from openseek.synthesis.recipes.wording import need, plain, prompt, split_answer, steps_of
from openseek.synthesis.retrieval import Library, open_library
from openseek.synthesis.rounds import in_rounds
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "long_cot_rag"
VERSION = 1
GIVES = "rows:long_cot_backward"

_MARKED = re.compile(
    f"{re.escape(BEGIN_RESULT)}.*?(?:{re.escape(END_RESULT)}|\\Z)|<\\|[a-z_]+\\|>", re.S
)
_TAIL_CHARS = 6000  # of the reasoning so far that a request repeats
_PASSAGE_CHARS = 1200


@dataclass
class State:
    """A row under way.

    Attributes:
        query: Its question.
        thoughts: The reasoning of each turn.
        searches: What was asked for, which passages came, what was found in them.
        answer: The answer, once there is one.
        done: Whether it takes no more turns.
    """

    query: str
    thoughts: list[str] = field(default_factory=list)
    searches: list[dict[str, object]] = field(default_factory=list)
    answer: str = ""
    done: bool = False

    def told(self, lang: str) -> str:
        """Render the reasoning so far, with what the searches found."""
        parts: list[str] = []
        for i, thought in enumerate(self.thoughts):
            parts.append(thought)
            if i < len(self.searches):
                search = self.searches[i]
                parts.append(f"{BEGIN_SEARCH}{search['query']}{END_SEARCH}")
                parts.append(f"{BEGIN_RESULT}{search['found']}{END_RESULT}")
        return "\n".join(p for p in parts if p)[-_TAIL_CHARS:] or FOUND[lang]


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Take turns until there is an answer.

    Raises:
        RowFailure: no_answer, no_reasoning, or `disagrees`: the answer is not the document's.
    """
    earlier = source.row
    if earlier is None:
        raise RowFailure("no_row", "long_cot_rag goes on from rows of long_cot_backward")
    library = open_library(config.index, config.passages_file)
    state, lang = State(earlier.query), source.lang
    async with in_rounds(NAME) as rounds:
        while not state.done:
            await rounds.next()
            await advance(state, lang, asker, config, library)
    answer = need(state.answer, "no_answer")
    steps = tuple(s for t in state.thoughts for s in steps_of(t))
    need("".join(steps), "no_reasoning")
    if not await agrees(state.query, answer, earlier.answer, lang, asker, config, NAME):
        raise RowFailure("disagrees", "the answer is not the document's")
    extra: dict[str, object] = {"reference": earlier.answer, "searches": state.searches}
    return [Row(state.query, answer, steps, extra, kind="cot")]


async def advance(
    state: State, lang: str, asker: Asker, config: RecipeConfig, library: Library
) -> None:
    """Take one turn: think, and search or answer.

    After `turns` searches a last request asks for the answer alone.
    """
    if len(state.searches) >= config.turns:
        await _close(state, lang, asker)
        return
    by_json = config.search_by == "json"
    thought, wanted, answer = await (_turn_json if by_json else _turn_free)(state, lang, asker)
    if wanted:
        state.thoughts.append(thought)
        state.searches.append(await _search(wanted, state, lang, asker, config, library))
        return
    state.answer, state.done = answer, True
    if thought:
        state.thoughts.append(thought)
    if not answer:
        await _close(state, lang, asker)


async def _turn_free(state: State, lang: str, asker: Asker) -> tuple[str, str, str]:
    """Return the thought, the search or an empty string, the answer or an empty string."""
    ask = prompt(
        f"{NAME}/turn", lang, VERSION, SYSTEM, TURN_FREE,
        query=state.query, reasoning=state.told(lang), begin=BEGIN_SEARCH, end=END_SEARCH,
    )  # fmt: skip
    # A model may make up what a search would find: nothing after its begin mark is read.
    text = await asker.say(ask, stop=(END_SEARCH, BEGIN_RESULT))
    thought, mark, wanted = text.partition(BEGIN_SEARCH)
    if mark and wanted.strip():
        return _clean(thought), " ".join(wanted.split())[:300], ""
    reasoning, answer = split_answer(_clean(text))
    return reasoning, "", answer


async def _turn_json(state: State, lang: str, asker: Asker) -> tuple[str, str, str]:
    ask = prompt(
        f"{NAME}/turn_json", lang, VERSION, SYSTEM, TURN_JSON, Turn,
        query=state.query, reasoning=state.told(lang),
    )  # fmt: skip
    turn = await asker.ask(ask, Turn)
    search = "" if turn.answer.strip() else " ".join(turn.search.split())[:300]
    return _clean(turn.thought), search, turn.answer.strip()


async def _search(
    wanted: str, state: State, lang: str, asker: Asker, config: RecipeConfig, library: Library
) -> dict[str, object]:
    """Search, and read the passages in a request of its own."""
    if any(wanted.lower() == str(s["query"]).lower() for s in state.searches):
        return {"query": wanted, "passages": [], "found": REPEATED[lang]}
    passages = library.search(wanted, config.passages)
    if not passages:
        return {"query": wanted, "passages": [], "found": NOTHING[lang]}
    listed = "\n\n".join(f"[{i}] {p.text[:_PASSAGE_CHARS]}" for i, p in enumerate(passages, 1))
    ask = prompt(
        f"{NAME}/read", lang, VERSION, SYSTEM, READ,
        reasoning=state.told(lang), search=wanted, passages=listed,
    )  # fmt: skip
    found = _clean(plain(await asker.say(ask, stop=(BEGIN_SEARCH,)))) or NOTHING[lang]
    return {"query": wanted, "passages": [p.id for p in passages], "found": found}


async def _close(state: State, lang: str, asker: Asker) -> None:
    """Ask for the answer alone."""
    ask = prompt(
        f"{NAME}/close", lang, VERSION, SYSTEM, CLOSE,
        query=state.query, reasoning="\n".join([state.told(lang), LIMIT[lang]]),
    )  # fmt: skip
    text = _clean(await asker.say(ask, stop=(BEGIN_SEARCH,)))
    state.answer = split_answer(text)[1] or plain(text)
    state.done = True


def _clean(text: str) -> str:
    """Take out marks, and results that the model made up."""
    return _MARKED.sub("", text).strip()
