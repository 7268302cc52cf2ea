"""The last step of a run: everything before it -> one HTML file."""

from __future__ import annotations

import json
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.config.report import ReportConfig
from openseek.report.collect import collect
from openseek.report.markdown import run_markdown
from openseek.report.page import render_report


def report(ctx: StepContext[ReportConfig]) -> dict[str, Any]:
    """Write `report.html`, `report.md` and `report.json` from all artifacts of a run.

    Inputs are keyed by step name; each carries its metrics and its lineage. The page holds the
    times of the lineage, so its bytes are the same for the same artifacts, whenever it is made.
    """
    config = ctx.config
    run = collect(
        ctx.inputs,
        name=config.name,
        config=config.config,
        dag=config.dag,
        machine=config.machine,
    )
    page = render_report(run)
    body = json.dumps(run.to_json(), ensure_ascii=False, indent=1, sort_keys=True)
    written = {}
    for i, (name, content) in enumerate(
        {"report.html": page, "report.md": run_markdown(run), "report.json": body}.items(), start=1
    ):
        path = ctx.out.scratch / name
        path.write_text(content, encoding="utf-8", errors="replace")
        written[name] = ctx.out.add(name, path).size
        ctx.progress(i, 3, "files")
    return {"steps": len(run.steps), "bytes": written["report.html"], "files": written}
