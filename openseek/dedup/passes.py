"""One pass of a step: what is committed already is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.compute import map_shards


def run_pass(
    ctx: StepContext[Any],
    fn: Callable[..., None],
    shards: Sequence[int],
    name: Callable[[int], str],
    args: tuple[Any, ...],
) -> None:
    """Run a pass over those shards or partitions that have no record yet.

    Args:
        ctx: Context of the step.
        fn: Does one shard, `fn(index, *args)`, and commits it.
        shards: Their indices.
        name: Names a shard's record.
        args: Further arguments.
    """
    done = ctx.out.shards()
    missing = [i for i in shards if name(i) not in done]
    map_shards(
        fn,
        missing,
        runtime=ctx.runtime,
        args=args,
        progress=ctx.progress,
        unit=fn.__name__.split("_")[0],
        done_before=len(shards) - len(missing),
    )
