import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from report_runs import full_run

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileRecord
from openseek.artifacts.folder import FolderOutput
from openseek.config.report import ReportConfig
from openseek.config.runtime import RuntimeConfig
from openseek.report import collect, render_report, step_markdown, step_plots
from openseek.report.dag import depths, essential_edges, layout
from openseek.report.step import report


@dataclass
class Files:
    """An artifact's files in a folder, with metrics and lineage."""

    root: Path
    meta: dict
    lineage: dict
    names: tuple = field(default=())

    def records(self):
        return [
            FileRecord(n, (self.root / n).stat().st_size, "ab" * 32, rows=3) for n in self.names
        ]

    def local(self, name):
        return self.root / name


def listing():
    """Matches of 120 rows; every third one holds two items; the writer was killed."""
    found = []
    for i in range(120):
        for item in range(1 + (i % 3 == 0)):
            match = {
                "id": f"row{i:03d}", "source": "synthetic-qa", "task": f"quiz{item}",
                "item": f"q{i}", "share": 0.5, "text": f"the <overlap> of {i}",
                "spans": [[i, i + 9], [700, 790]],
            }  # fmt: skip
            found.append(json.dumps(match))
    return "\n".join([*found, '{"id": "to'])


@pytest.fixture
def inputs(tmp_path):
    """The artifacts of the made-up run; the training logs are files, as they are in a store."""
    found = {}
    digests = {s.name: s.lineage["content_digest"] for s in full_run().steps}
    for step in full_run().steps:
        metrics = {k: v for k, v in step.metrics.items() if k not in ("_files", "curve")}
        reads = {k: f"{digests[v]}:train/" for k, v in step.inputs.items()}
        lineage = {**step.lineage, "inputs": reads}
        names = ()
        if step.kind == "train":
            lines = [json.dumps(r) for r in step.metrics["curve"]]
            (tmp_path / step.name).mkdir()
            text = "\n".join([*lines, '{"step": 9, "los'])  # a killed writer's last line
            (tmp_path / step.name / "metrics.jsonl").write_text(text)
            names = ("metrics.jsonl",)
        if step.name == "synthesise":
            (tmp_path / step.name).mkdir()
            (tmp_path / step.name / "contamination.jsonl").write_text(listing())
            names = ("contamination.jsonl",)
        found[step.name] = Files(tmp_path / step.name, metrics, lineage, names)
    return found


def context(inputs, folder, **config):
    return StepContext(
        ReportConfig(name="demo", **config), inputs, FolderOutput(folder), RuntimeConfig()
    )


def test_step_writes_page_record_and_summary(inputs, tmp_path):
    metrics = report(context(inputs, tmp_path / "out", config={"seed": 17}))
    page = (tmp_path / "out/report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert metrics["steps"] == len(inputs)
    assert metrics["bytes"] == len(page.encode())
    assert (tmp_path / "out/report.md").read_text().startswith("# demo")
    record = json.loads((tmp_path / "out/report.json").read_text())
    assert [s["name"] for s in record["steps"]][:3] == ["benchmarks", "ingest", "clean"]
    assert "unigram 7.14" in page


def test_same_artifacts_give_the_same_bytes(inputs, tmp_path):
    for name in ("one", "two"):
        report(context(dict(sorted(inputs.items(), reverse=name == "two")), tmp_path / name))
    for file in ("report.html", "report.md", "report.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_edges_come_from_the_digests_when_no_dag_is_given(inputs):
    run = collect(inputs, name="demo")
    expected = {s.name: s.inputs for s in full_run().steps}
    assert {s.name: s.inputs for s in run.steps} == expected
    assert [s.name for s in run.steps] == [s.name for s in full_run().steps]


def test_training_log_is_read_and_its_cut_line_left_out(inputs):
    run = collect(inputs, name="demo")
    assert len(run.metrics("train-foundation")["curve"]) == 240


def test_what_decontamination_dropped_of_synthesis_is_listed(inputs):
    run = collect(inputs, name="demo")
    told = run.metrics("synthesise")["contamination"]
    assert (told["documents"], told["matches"]) == (120, 160)
    assert told["by_task"] == {"quiz0": 120, "quiz1": 40}
    assert len(told["rows"]) == 50
    assert told["rows"] == sorted(told["rows"], key=lambda r: r["id"])
    assert sum(r["also"] for r in told["rows"]) == sum(
        int(r["id"][3:]) % 3 == 0 for r in told["rows"]
    )
    page = render_report(run)
    assert "synthetic rows, qa" in page
    assert "50 of 120 dropped" in page
    first = told["rows"][0]
    assert f"characters {first['characters']}" in page
    assert first["characters"].endswith(", 700-790")
    assert first["text"].replace("<", "&lt;").replace(">", "&gt;") in page
    assert "0.14 %" in page  # 3 of 2,100 rows


def test_steps_without_artifact_are_pending(inputs):
    dag = {"ingest": {}, "clean": {"documents": "ingest"}, "report": {"ingest": "ingest"}}
    run = collect({"ingest": inputs["ingest"]}, name="x", dag=dag)
    assert [(s.name, s.state) for s in run.steps] == [("ingest", "done"), ("clean", "pending")]
    assert "pending" in render_report(run)


def test_runtime_facts_are_no_part_of_the_identity():
    config = ReportConfig(name="a", machine={"cpu": "x"})
    assert config.identity() == ReportConfig(name="a").identity()


def test_dag_boxes_do_not_overlap():
    steps = full_run().steps
    for columns in (2, 6):
        corners = [(p.x, p.y) for p in layout(steps, columns).values()]
        assert len(corners) == len(steps)
        for i, (x, y) in enumerate(corners):
            for u, v in corners[i + 1 :]:
                assert abs(x - u) >= 150 or abs(y - v) >= 66


def test_only_edges_without_a_detour_are_strong():
    steps = full_run().steps
    strong = essential_edges(steps)
    assert ("ingest", "clean") in strong
    assert ("train-foundation", "train-specialization") in strong
    assert ("tokenise", "train-foundation") not in strong
    assert depths(steps)["train-integration"] == depths(steps)["mix-foundation"] + 3


def test_step_artifacts_for_the_ui(inputs):
    for name, files in inputs.items():
        assert "None" not in step_markdown(files.meta), name
    plots = step_plots(full_run().metrics("train-foundation"))
    assert set(plots) == {"loss", "learning-rate"}
    assert all(uri.startswith("data:image/svg+xml;base64,") for uri in plots.values())
    assert step_plots({}) == {}
    assert step_markdown({}) == ""
