"""A reward model's score of every row, and which rows each domain can do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from openseek.config.quality import TransformerScorerConfig
from openseek.config.verification import RewardCheck
from openseek.synthesis.rows import Row

REST = "(small domains)"
_LIMIT = 1e9


def rewards(rows: Sequence[tuple[Row, str]], config: RewardCheck) -> list[float]:
    """Score rows, given with their rendered texts; on a GPU where there is one.

    A model whose tokenizer has a chat template is given question and answer as a conversation, as
    it was trained; another one the rendered text.
    """
    scorer = _scorer(config)
    texts = [_worded(scorer, row, text) for row, text in rows]
    return [round(float(score), 5) for score in scorer.score(texts)]


@lru_cache(maxsize=1)
def _scorer(config: RewardCheck) -> Any:
    from openseek.quality.transformer import TransformerScorer

    return TransformerScorer(
        TransformerScorerConfig(
            kind="transformer", name="reward", model=config.model, revision=config.revision,
            max_tokens=config.max_tokens, low=-_LIMIT, high=_LIMIT,
            batch_size=config.batch_size, device=config.device,
        )
    )  # fmt: skip


def _worded(scorer: Any, row: Row, text: str) -> str:
    tokenizer = scorer.tokenizer
    if not getattr(tokenizer, "chat_template", None) or not row.query:
        return text
    answer = "\n\n".join(part for part in (row.reasoning, row.answer) if part)
    turns = [{"role": "user", "content": row.query}, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def worst(
    scores: Mapping[str, tuple[str, float]], config: RewardCheck
) -> tuple[set[str], dict[str, float]]:
    """Choose the rows with the lowest rewards of each domain.

    The same rows for any order of them: ties go by the row's name.

    Args:
        scores: Row -> its domain and its reward.
        config: The share that goes, and the size below which domains are cut together.

    Returns:
        The rows that go; domain -> lowest reward that stays.
    """
    domains: dict[str, list[tuple[float, str]]] = {}
    for name, (domain, score) in scores.items():
        domains.setdefault(domain, []).append((score, name))
    for domain in [d for d, rows in domains.items() if len(rows) < config.min_rows]:
        domains.setdefault(REST, []).extend(domains.pop(domain))
    gone: set[str] = set()
    limits: dict[str, float] = {}
    for domain, rows in sorted(domains.items()):
        rows.sort()
        n = int(config.drop_quantile * len(rows))
        gone |= {name for _, name in rows[:n]}
        limits[domain or "(none)"] = rows[n][0]
    return gone, limits
