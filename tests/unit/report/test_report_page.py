import dataclasses
import math
import re
from html.parser import HTMLParser

import pytest
from report_runs import HOSTILE, bare_run, full_run

from openseek.report import RunRecord, StepRecord, render_report, run_markdown
from openseek.report.page import SECTIONS

VOID = {"meta", "link", "br", "hr", "img", "input"}
ANCHORS = [anchor for anchor, _, _ in SECTIONS]


class Page(HTMLParser):
    """Checks nesting while it parses, and collects what the page would load and run."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.loads, self.tags, self.handlers = [], [], [], [], []
        self.text, self.by_id = [], {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                self.loads.append(value)
            if name.startswith("on"):
                self.handlers.append((tag, name))
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(f"self-closing {tag}")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text.append(data)
        for _, anchor in self.open:
            if anchor:
                self.by_id.setdefault(anchor, []).append(data)


@pytest.fixture(scope="module")
def full():
    return render_report(full_run())


@pytest.mark.parametrize("run", [full_run(), bare_run(), RunRecord("empty")], ids=lambda r: r.name)
def test_page_is_well_formed_and_has_every_section(run):
    page = Page(render_report(run))
    assert page.open == []
    assert [i for i in page.ids if i in ANCHORS] == ANCHORS
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded_from_elsewhere(full):
    page = Page(full)
    assert [v for v in page.loads if not v.startswith(("#", "data:"))] == []
    style = full[full.index("<style>") : full.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    script = full[full.index("<script>") : full.rindex("</script>")]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|innerHTML|https?://", script)
    assert not {"iframe", "object", "embed", "img", "form", "base"} & set(page.tags)


def test_page_stays_small(full):
    assert len(full.encode()) < 1_500_000


def test_documents_cannot_inject_markup(full):
    assert HOSTILE not in full
    assert "&lt;script&gt;alert" in full
    page = Page(full)
    assert page.tags.count("script") == 1
    assert page.handlers == []


@pytest.mark.parametrize(
    "value", ['"><script>x()</script>', "a\x00b\x1bc\ud800", "</style></script>"]
)
def test_hostile_names_and_keys_are_harmless(value):
    metrics = {
        "documents_in": 3, "documents_out": 2, "bytes_in": 9, "bytes_out": 8,
        "by_source": {value: {"documents_out": 2, "bytes_out": 8}},
        "dropped": {value: 1}, "quarantined": {value: 1},
        "samples": {value: [{"id": value, "source": value, "text": value}]},
    }  # fmt: skip
    steps = [
        StepRecord("ingest", "ingest", value, value, 1.0, {}, metrics),
        StepRecord("clean", "clean", value, value, 1.0, {value: "ingest"}, metrics),
    ]
    run = RunRecord(value, value, {value: value}, steps, value, 1.0, {value: value})
    source = render_report(run)
    page = Page(source)
    source.encode("utf-8")
    assert page.tags.count("script") == 1
    assert page.tags.count("style") == 1
    assert "<script" not in run_markdown(run)


def test_full_run_shows_its_figures(full):
    page = Page(full)
    assert "Not part of this run." not in full
    shown = {anchor: " ".join(texts) for anchor, texts in page.by_id.items()}
    assert "extractive" in shown["synthesis"]
    assert "openseek-100b: path does not exist" in shown["sources"]
    assert "PSF-2.0" in shown["sources"]
    assert "unigram 7.14" in shown["training"]
    assert "spike: gradient norm 8.1" in shown["training"]
    assert "web-17, web-18 and 29 more" in shown["training"]
    assert "step 120: dead experts in layer 2: 3, 5" in shown["training"]
    assert "41.2" in shown["training"]
    charts = ("Multi-token prediction", "Router entropy", "Router bias", "Speed", "Rewinds")
    assert all(title in shown["training"] for title in charts)
    assert full.count('class="skip"') == 1
    assert "cot: 5.2 epochs" in shown["mixture"]
    assert "Mercury_7" in shown["decontamination"]
    assert "4.1e-6" in shown["export"]
    assert "invalid UTF-8" in shown["quarantine"]
    assert "a1b2c3d4e5f6+dirty" in shown["lineage"]
    assert "AMD EPYC 9B45" in shown["machine"]
    assert "n_routed_experts" in shown["config"]
    assert "mean of 7 of 10 rows" in shown["scores"]


def test_sections_without_data_say_so():
    source = render_report(bare_run())
    page = Page(source)
    for anchor in set(ANCHORS) - {"steps", "quarantine"}:
        assert "Not part of this run." in " ".join(page.by_id[anchor]), anchor


def _spoil(value, with_):
    if isinstance(value, dict):
        return {k: _spoil(v, with_) for k, v in value.items()}
    if isinstance(value, list):
        return [_spoil(v, with_) for v in value]
    return with_ if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    "with_",
    [math.nan, math.inf, None, 10**400, 1e300, -1, 0, "text", [], {}],
    ids=lambda v: str(v)[:9],
)
def test_any_figure_may_be_odd(with_):
    run = full_run()
    steps = [
        dataclasses.replace(s, seconds=_spoil(s.seconds, with_), metrics=_spoil(s.metrics, with_),
                            lineage=_spoil(s.lineage, with_))
        for s in run.steps
    ]  # fmt: skip
    source = render_report(dataclasses.replace(run, steps=steps, seconds=with_))
    Page(source)
    assert "could not be drawn" not in source
    run_markdown(dataclasses.replace(run, steps=steps, seconds=with_))
    assert not re.search(r'="(nan|inf|-inf)\b', source)


def _with_one_odd_key(step, index, with_):
    """Replace the value of the step's `index`-th metric; a short log keeps the rendering fast."""
    metrics = dict(step.metrics)
    if "curve" in metrics:
        metrics["curve"] = metrics["curve"][:9]
    if index < len(metrics):
        metrics[sorted(metrics)[index]] = with_
    return dataclasses.replace(step, metrics=metrics)


@pytest.mark.slow
@pytest.mark.parametrize("with_", [None, 3, [None], {"a": None}, [{"a": [1]}]], ids=repr)
def test_any_metric_may_have_another_shape(with_):
    steps = full_run().steps
    for index in range(max(len(s.metrics) for s in steps)):
        odd = [_with_one_odd_key(s, index, with_) for s in steps]
        source = render_report(RunRecord("odd", steps=odd))
        Page(source)
        assert "could not be drawn" not in source


def test_a_defect_in_one_section_leaves_the_others(monkeypatch, caplog):
    def broken(run):
        raise KeyError("gone")

    sections = tuple((a, t, broken if a == "training" else r) for a, t, r in SECTIONS)
    monkeypatch.setattr("openseek.report.page.SECTIONS", sections)
    page = Page(render_report(full_run()))
    assert "could not be drawn (KeyError" in " ".join(page.by_id["training"])
    assert "extractive" in " ".join(page.by_id["synthesis"])
    assert "section=training" in caplog.text


def test_rendering_is_a_function_of_the_record():
    again = RunRecord.from_json(full_run().to_json())
    assert render_report(again) == render_report(full_run())


def test_lengths_and_languages_of_cleaning_are_drawn():
    page = render_report(full_run())
    assert "Lengths of the documents" in page
    assert "Documents kept by cleaning, by language" in page


def test_domains_and_agreement_with_the_teacher_are_shown():
    page = render_report(full_run())
    assert "agreement with its teacher (heuristic)" in page
    assert "0.741" in page
    assert ">science<" in page


def test_the_classifier_of_domains_is_told_by_its_figures():
    page = render_report(full_run())
    assert "Classifier of domains" in page
    assert "0.934" in page
    assert "0.915" in page


def test_tokens_by_domain_are_shown_by_stage():
    run = full_run()
    run.metrics("tokenise")["tokens"]["by_domain"] = {"science": 900_000, "": 12_345}
    page = render_report(run)
    assert "drawn by specialization" in page
    assert "500,000 (25.0 %)" in page
    assert "not labelled" in page


def test_markdown_holds_scores_bits_and_funnel():
    text = run_markdown(full_run())
    assert text.startswith("# demo: done")
    for part in ("## Bits per byte", "## Scores, %", "## Data", "## Steps"):
        assert part in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert any(line.startswith("| arc\\_easy | 25.0 |") for line in rows)
    assert run_markdown(RunRecord("empty")).startswith("# empty: done")


def test_items_are_shown_with_what_each_model_made_of_them(full):
    items = full.split('id="items"')[1].split("</section>")[0]
    assert "2 of 200 items are shown, 198 left out" in items
    assert items.count('class="item"') == 2
    assert "-12.25" in items.replace("−", "-")
    assert 'data-task="piqa" data-state="wrong" data-disagree="1"' in items
    assert "four" in items


def test_scores_are_drawn_over_tokens_with_the_stages(full):
    scores = full.split('id="scores"')[1].split("</section>")[0]
    assert "Over training, 6 checkpoints" in scores
    for title in ("Mean score", "Scores by task", "Probability of the right option"):
        assert title in scores


def test_the_leaderboard_says_what_scores_are_worth(full):
    board = full.split('id="board"')[1].split("</section>")[0]
    assert "smallest difference that shows" in board
    assert "25.00 ± 3.00 (n=190)" in board
    assert "challenge report, section 3.2" in board
    assert "expected calibration error" in board
    assert "layer 1: experts by category" in board
