"""Say which rank failed, how, and with what in its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openseek import errors
from openseek.errors import OpenSeekError, TrainingError

Record = dict[str, Any]
TAIL_LINES = 25


class RankError(TrainingError):
    """A rank died or hit a fault of the machine: another attempt may succeed."""


def error_file(folder: Path, rank: int) -> Path:
    """Return the file beside its job in which a rank leaves the error that ended it."""
    return folder / f"rank{rank}.error.json"


def write_error(folder: Path, rank: int, error: BaseException) -> None:
    """Leave what ended a rank for the parent, which raises it again."""
    text = json.dumps(record_of(error, where=f"rank {rank}"))
    error_file(folder, rank).write_text(text, encoding="utf-8")


def record_of(error: BaseException, *, where: str) -> Record:
    """Describe an error so that another process can raise it again.

    Args:
        error: What was raised.
        where: Used when the error does not know.
    """
    known = error if isinstance(error, OpenSeekError) else None
    return {
        "kind": type(error).__name__,
        "what": known.what if known else f"{type(error).__name__}: {error}",
        "where": known.where if known else where,
        "mend": known.mend if known else "",
        "known": known is not None,
    }


def rebuild(record: Record) -> OpenSeekError:
    """Make the error of `record_of` again."""
    kind = getattr(errors, record["kind"], TrainingError)
    return kind(record["what"], where=record["where"], mend=record["mend"])


def explain(folder: Path, ends: list[Record]) -> OpenSeekError:
    """Make one error of the ranks that ended.

    The death of one rank breaks the connections of all others, so several end at almost the same
    time. The first cause is a rank that was killed, else one that raised an error of ours, else
    the first to end.

    Args:
        folder: Folder of the job.
        ends: {"rank", "code", "how"?} of ranks that did not end with 0, in order of time.
    """
    killed = next((e for e in ends if e["code"] is not None and e["code"] < 0), None)
    dead = killed or next((e for e in ends if not _error(folder, e["rank"])), None)
    known = next((e for e in ends if _error(folder, e["rank"]).get("known")), None)
    if known and not killed:
        return rebuild(_error(folder, known["rank"]))
    end = dead or ends[0]
    rank, code, how = end["rank"], end["code"], end.get("how")
    if not how:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    log_file = folder / f"rank{rank}.log"
    text = log_file.read_text(encoding="utf-8", errors="replace") if log_file.is_file() else ""
    memory = " It may have been out of memory: lower train.micro_batch." if code == -9 else ""
    return RankError(
        f"rank {rank} {how}; the end of its log:\n{tail(text)}\n",
        where=str(log_file),
        mend=f"Start the same command again to go on from the last checkpoint.{memory}",
    )


def _error(folder: Path, rank: int) -> Record:
    path = folder / f"rank{rank}.error.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def tail(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
