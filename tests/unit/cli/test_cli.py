"""The command line from outside: exit codes, messages, and the JSON that scripts read."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openseek.artifacts import Manifest, Spec, Store
from openseek.artifacts.attempt import Attempt
from openseek.cli.main import main
from openseek.corpus.shards import make_document, write_documents

ROOT = Path(__file__).parents[3]
TINY = ROOT / "configs" / "tiny.yaml"
SLOW = ("torch", "ray", "prefect", "transformers", "pyarrow", "deepspeed", "numpy", "lighteval")


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


class Shell:
    """Runs `openseek ...` in this process, through the entry point itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *args: str | Path) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["openseek", *map(str, args)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self.capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENSEEK_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def openseek(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home / "store"), home / "scratch")


def finish(store: Store, step: str, name: str, text: str, run: str = "first") -> Manifest:
    """Commit an artifact of one file, and point a run at it."""
    spec = Spec(step, 1, {"config": {"text": text}}, {})
    with store.attempt(spec) as attempt:
        assert isinstance(attempt, Attempt)
        path = attempt.scratch / "file"
        path.write_text(text)
        attempt.commit_shard("000000", {name: path})
        facts = {"node": step, "started": 1e9, "seconds": 2.0}
        made = store.commit(spec, attempt, {}, facts)
    ref = {"node": step, "step": step, "key": made.key, "content_digest": made.content_digest}
    store.write_ref(run, step, {**ref, "state": "ran", "seconds": 2.0, "at": 1e9})
    body = {"run": run, "state": "done", "at": 1e9, "config": {}, "nodes": [step, "export"]}
    store.write_ref(run, "_run", body)
    return made


def damage(store: Store, manifest: Manifest) -> None:
    path = Path(store.root) / manifest.folder / manifest.files[0].path
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)


def tiny(home: Path, *overrides: str) -> list[str]:
    """Arguments for the tiny configuration on one file of text."""
    (home / "text").mkdir(exist_ok=True)
    (home / "text" / "a.txt").write_text("A file of a few words.")
    source = f"{{name: a, path: ['{home}/text'], category: foundation, lang: en, license: MIT}}"
    changes = [f"sources=[{source}]", f"benchmarks.folder={home}/none", *overrides]
    return [str(TINY), *(part for change in changes for part in ("--set", change))]


# Help


def test_every_help_is_there_and_imports_nothing_slow(home: Path) -> None:
    script = f"""
        import contextlib, io, sys
        import typer
        from openseek.cli import main as cli

        def walk(command, path):
            yield path
            for name, child in getattr(command, "commands", {{}}).items():
                yield from walk(child, [*path, name])

        n = 0
        for path in walk(typer.main.get_command(cli.app), []):
            sys.argv = ["openseek", *path, "--help"]
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                try:
                    cli.main()
                except SystemExit as end:
                    assert not end.code, (path, end.code)
            assert "Usage: openseek " + " ".join(path) in text.getvalue(), path
            n += 1
        print(n, [m for m in {SLOW!r} if m in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    count, _, slow = done.stdout.partition(" ")
    assert int(count) >= 20
    assert slow.strip() == "[]"


# Usage and configuration: exit code 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plan", str(TINY), "--bogus"], "No such option"),
        (["plann"], "No such command"),
        (["status", "--json", "--bogus"], "No such option"),
        (["run"], "Missing argument"),
    ],
)
def test_wrong_usage_is_2(openseek: Shell, args: list[str], message: str) -> None:
    done = openseek(*args)
    assert done.code == 2
    assert message in done.err
    if "--json" in args:
        assert done.json()["state"] == "failed"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("stages.foundation.token=2M", ["stages.foundation.token", "did you mean 'tokens'"]),
        ("seed=many", ["seed", "many"]),
        ("stages.foundation.tokens=2Q", ["stages.foundation.tokens", "2Q"]),
        ("nonsense", ["--set", "key.path=value"]),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_bad_configuration_is_2_with_key_value_and_mend(
    openseek: Shell, home: Path, command: str, override: str, parts: list[str]
) -> None:
    done = openseek(command, *tiny(home, override), "--json")
    assert done.code == 2
    for part in parts:
        assert part in done.err
    if override != "nonsense":
        assert str(TINY) in done.err
    answer = done.json()
    assert (answer["state"], answer["kind"]) == ("failed", "ConfigError")
    assert answer["error"] in done.err
    assert not (home / "store").exists()


def test_a_missing_configuration_names_what_is_there(openseek: Shell, home: Path) -> None:
    (home / "mine.yaml").write_text("name: x")
    done = openseek("plan", home / "mien.yaml")
    assert done.code == 2
    assert "mien.yaml: no such file. There are: mine.yaml." in done.err


def test_a_misspelt_step_to_force_is_2_and_names_the_steps(openseek: Shell, home: Path) -> None:
    done = openseek("run", *tiny(home), "--force", "trian")
    assert done.code == 2
    assert "train-foundation" in done.err


def test_a_defect_is_1_without_a_traceback(
    openseek: Shell, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise KeyError("surprise")

    monkeypatch.setattr("openseek.pipeline.plan.make_plan", broken)
    done = openseek("plan", *tiny(home), "--json")
    assert done.code == 1
    assert "OPENSEEK_LOG=debug" in done.err
    assert "Traceback" not in done.err
    assert done.json()["kind"] == "KeyError"


# Plan


def test_plan_as_json_and_as_a_table(openseek: Shell, home: Path) -> None:
    done = openseek("plan", *tiny(home), "--json")
    assert (done.code, done.err) == (0, "")
    plan = done.json()
    assert {"run", "store", "config", "steps", "seconds", "flops", "tokens"} <= plan.keys()
    assert plan["tokens"] == 72_000
    assert plan["store"] == str(home / "store")
    expected = {"name", "kind", "state", "reason", "inputs", "key", "tokens", "flops", "bytes",
                "seconds", "basis", "about"}  # fmt: skip
    for step in plan["steps"]:
        assert expected <= step.keys()
    table = openseek("plan", *tiny(home))
    assert table.code == 0
    for step in plan["steps"]:
        assert step["name"] in table.out
    assert "21 of 21 steps to do: 72k tokens" in table.out
    assert not (home / "store").exists()


def test_plan_prints_the_resolved_configuration(openseek: Shell, home: Path) -> None:
    done = openseek("plan", *tiny(home, "stages.foundation.tokens=0.05M"), "--config")
    assert done.code == 0
    assert "tokens: 50000" in done.out


# Runs


def test_status_of_no_run_of_all_and_of_one(openseek: Shell, store: Store) -> None:
    assert "no runs yet" in openseek("status").out
    assert openseek("status", "--json").json() == {"runs": []}
    made = finish(store, "clean", "a.txt", "one")
    finish(store, "clean", "a.txt", "two", run="second")
    assert [r["run"] for r in openseek("status", "--json").json()["runs"]] == ["first", "second"]
    steps = openseek("status", "first", "--json").json()["steps"]
    assert steps["clean"]["key"] == made.key
    assert steps["export"] is None
    shown = openseek("status", "first").out
    assert made.key[:12] in shown
    assert "run first: done" in shown


@pytest.mark.parametrize(
    "args",
    [["status", "frist"], ["resume", "frist"], ["report", "frist"], ["export", "frist", "o"]],
)
def test_a_missing_run_is_1_and_the_known_ones_are_named(
    openseek: Shell, home: Path, store: Store, args: list[str]
) -> None:
    finish(store, "clean", "a.txt", "one")
    done = openseek(*args, "--json")
    assert done.code == 1
    assert "no run 'frist'. Runs in this store: first." in done.err
    assert done.json()["kind"] == "StoreError"
    assert not (home / "o").exists()


def test_report_and_export_of_a_run_that_is_not_finished(openseek: Shell, store: Store) -> None:
    finish(store, "clean", "a.txt", "one")
    for args in (["report", "first"], ["export", "first", "out"]):
        done = openseek(*args)
        assert done.code == 1
        assert "`openseek resume first` finishes it" in done.err


def test_report_is_printed_or_copied(openseek: Shell, home: Path, store: Store) -> None:
    finish(store, "report", "report.html", "<html></html>")
    assert Path(openseek("report", "first").out.strip()).read_text() == "<html></html>"
    done = openseek("report", "first", "--out", home / "new" / "r.html", "--json")
    assert done.json() == {"report": str(home / "new" / "r.html")}
    (home / "folder").mkdir()
    openseek("report", "first", "--out", "folder")
    assert (home / "folder" / "report.html").read_text() == "<html></html>"


def test_export_writes_a_folder_and_never_over_another(
    openseek: Shell, home: Path, store: Store
) -> None:
    finish(store, "export", "hf/config.json", "{}")
    assert openseek("export", "first", "model").code == 0
    assert (home / "model" / "config.json").read_text() == "{}"
    assert not (home / "model" / "config.json").is_symlink()
    again = openseek("export", "first", "model", "--json")
    assert again.code == 2
    assert "not empty" in again.json()["error"]


# The store


def test_ls_and_show(openseek: Shell, store: Store) -> None:
    assert "no finished artifacts" in openseek("artifacts", "ls").out
    made = finish(store, "clean", "a.txt", "one")
    finish(store, "dedup", "a.txt", "two")
    assert made.key[:12] in openseek("artifacts", "ls").out
    rows = openseek("artifacts", "ls", "--json").json()["artifacts"]
    assert {(r["step"], r["files"], r["bytes"]) for r in rows} == {
        ("clean", 1, 3),
        ("dedup", 1, 3),
    }
    shown = json.loads(openseek("artifacts", "show", made.key[:10]).out)
    assert shown["key"] == made.key
    assert openseek("artifacts", "show", made.key, "--json").json() == shown
    several = openseek("artifacts", "show", "")
    assert (several.code, made.key[:16] in several.err) == (1, True)
    missing = openseek("artifacts", "show", "zzz")
    assert (missing.code, "artifacts ls" in missing.err) == (1, True)


def test_the_option_store_wins_over_the_environment(openseek: Shell, home: Path) -> None:
    other = Store(str(home / "other"), home / "scratch")
    made = finish(other, "report", "report.html", "there")
    assert openseek("artifacts", "ls", "--json").json()["artifacts"] == []
    rows = openseek("artifacts", "ls", "--store", home / "other", "--json").json()["artifacts"]
    assert [r["key"] for r in rows] == [made.key]
    assert openseek("status", "first", "--store", home / "other").code == 0
    assert openseek("report", "first", "--store", home / "other").code == 0


def test_verify_finds_damage_and_repair_takes_it_out_of_use(openseek: Shell, store: Store) -> None:
    good = finish(store, "clean", "a.txt", "one")
    bad = finish(store, "dedup", "a.txt", "two")
    assert openseek("artifacts", "verify").code == 0
    damage(store, bad)
    found = openseek("artifacts", "verify", "--json")
    assert found.code == 1
    assert [d["artifact"] for d in found.json()["damaged"]] == [bad.folder]
    assert found.json()["files"] == 2
    assert openseek("artifacts", "verify", "--repair").code == 0
    after = openseek("artifacts", "verify", "--json")
    assert (after.code, after.json()["damaged"]) == (0, [])
    rows = openseek("artifacts", "ls", "--json").json()["artifacts"]
    assert [r["key"] for r in rows] == [good.key]


def test_a_manifest_cut_short_is_reported_repaired_and_left_alone_by_gc(
    openseek: Shell, home: Path, store: Store
) -> None:
    good = finish(store, "clean", "a.txt", "one")
    bad = finish(store, "dedup", "a.txt", "two")
    path = home / "store" / bad.folder / "_MANIFEST.json"
    path.write_bytes(path.read_bytes()[:100])
    rows = openseek("artifacts", "ls", "--json").json()["artifacts"]
    assert [r["key"] for r in rows] == [good.key]
    assert openseek("gc", "--older-than-hours", "0", "--json").json()["unreadable"] == [bad.folder]
    found = openseek("artifacts", "verify", "--json")
    assert found.code == 1
    assert "the manifest cannot be read" in found.json()["damaged"][0]["error"]
    assert openseek("artifacts", "verify", "--repair").code == 0
    assert not path.exists()
    assert openseek("artifacts", "verify").code == 0


def test_gc_reports_before_it_removes(openseek: Shell, home: Path, store: Store) -> None:
    made = finish(store, "clean", "a.txt", "one")
    orphan = home / "store" / made.folder / "attempts" / "dead" / "half.txt"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("half")
    old = time.time() - 100 * 3600
    os.utime(orphan, (old, old))
    tried = openseek("gc", "--dry-run", "--json").json()
    assert tried["files"] == [str(orphan.relative_to(home / "store"))]
    assert tried["bytes"] == 4
    assert "1 files to remove, 4 B" in openseek("gc", "--dry-run").out
    assert orphan.exists()
    assert openseek("gc").code == 0
    assert not orphan.exists()
    assert openseek("artifacts", "verify").code == 0


# Layers alone


def test_mix_audit_of_a_list_of_weights(openseek: Shell, home: Path) -> None:
    weights = home / "weights.csv"
    weights.write_text("name,weight\ncot_synthesis_CC,6\nNemotron-CC-high,3\nproof-pile-2,1\n")
    report = openseek("mix", "audit", weights, "--json").json()
    assert report["entries"] == 3
    assert report["shares"]["category"]["cot"] == pytest.approx(0.6)
    assert any("chain of thought" in f["message"] for f in report["findings"])
    assert "60.0 %" in openseek("mix", "audit", weights).out
    missing = openseek("mix", "audit", "nowhere.csv", "--json")
    assert (missing.code, missing.json()["kind"]) == (1, "DataError")


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


@pytest.fixture
def documents(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("openseek.cleaning.step.map_shards", serial)
    prose = (
        "The boats that have to go down the river with the grain pass town number {}. "
        "Nobody would be surprised if half of them were late, for it rained all week. "
    )
    long = [prose.format(n) for n in range(6)]
    rows = [
        make_document(
            text,
            source="web",
            category="foundation",
            lang="en",
            license="MIT",
            origin=str(n),
        )
        for n, text in enumerate([*long, "too short"])
    ]
    (home / "in").mkdir()
    write_documents(home / "in" / "web-00000.parquet", rows)
    return home / "in"


def test_data_clean_on_a_folder(openseek: Shell, home: Path, documents: Path) -> None:
    done = openseek("data", "clean", documents, "out", "--json")
    assert done.code == 0, done.err
    metrics = done.json()
    assert (metrics["documents_in"], metrics["documents_out"]) == (7, 6)
    assert pq.read_table(home / "out" / "web-00000.parquet").num_rows == 6
    assert json.loads((home / "out" / "_report.json").read_text())["documents_out"] == 6
    again = openseek("data", "clean", documents, "out", "--json")
    assert again.json() == metrics
    assert "documents_out" in openseek("data", "clean", documents, "out").out


def test_data_clean_reads_jsonl_with_a_column_of_another_name(
    openseek: Shell, home: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openseek.corpus.step.map_shards", serial)
    rows = pq.read_table(documents / "web-00000.parquet", columns=["text"]).to_pylist()
    lines = "".join(json.dumps({"body": row["text"]}) + "\n" for row in rows)
    (home / "raw").mkdir()
    (home / "raw" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    call = ("data", "clean", "raw", "out", "--text", "body", "--lang", "en", "--json")
    done = openseek(*call)
    assert done.code == 0, done.err
    assert (done.json()["documents_in"], done.json()["documents_out"]) == (7, 6)
    (kept,) = (home / "out").glob("*.parquet")
    table = pq.read_table(kept).to_pylist()
    assert {(r["source"], r["category"], r["lang"]) for r in table} == {("raw", "foundation", "en")}
    assert openseek(*call).json() == done.json()


def test_a_folder_of_another_call_is_never_taken_for_this_ones(
    openseek: Shell, home: Path, documents: Path
) -> None:
    assert openseek("data", "clean", documents, "out").code == 0
    other = openseek("data", "clean", documents, "out", "--set", "pii.enabled=false")
    assert other.code == 2
    assert "another call (config.pii.enabled)" in other.err
    (home / "mine").mkdir()
    (home / "mine" / "thesis.txt").write_text("x")
    taken = openseek("data", "clean", documents, "mine")
    assert taken.code == 2
    assert "not empty (thesis.txt)" in taken.err


def test_data_clean_says_which_keys_a_section_has(
    openseek: Shell, home: Path, documents: Path
) -> None:
    done = openseek("data", "clean", documents, "out", "--set", "presset=cci4")
    assert done.code == 2
    assert "presset" in done.err
    assert "preset" in done.err.partition("Keys of this section")[2]
    assert not (home / "out").exists()


def test_a_missing_input_folder_leaves_no_output_folder(openseek: Shell, home: Path) -> None:
    done = openseek("data", "clean", "nowhere", "out", "--json")
    assert (done.code, done.json()["error"]) == (1, "nowhere: no such folder. Check the path.")
    assert not (home / "out").exists()


def test_synth_knows_its_recipes(
    openseek: Shell, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def step(ctx: Any) -> dict[str, Any]:
        seen.append(ctx.config)
        return {"documents_out": 0}

    monkeypatch.setattr("openseek.synthesis.step.synthesise", step)
    assert openseek("synth", "simple_qa", documents, "out").code == 0
    assert [r.name for r in seen[0].recipes] == ["simple_qa"]
    unknown = openseek("synth", "riddles", documents, "out2")
    assert unknown.code == 2
    assert "simple_qa" in unknown.err


def test_doctor_fails_when_a_check_does(
    openseek: Shell, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from openseek.cli import doctor

    def ill(_: str) -> str:
        raise doctor.NotWellError("too small", mend="Get a larger one.")

    quick = [c for c in doctor.CHECKS if c[0] in ("python", "store")]
    monkeypatch.setattr(doctor, "CHECKS", quick)
    assert openseek("doctor").code == 0
    monkeypatch.setattr(doctor, "CHECKS", [*quick, ("machine", ill)])
    done = openseek("doctor", "--json")
    assert done.code == 1
    checks = {c["check"]: c for c in done.json()["checks"]}
    assert checks["store"]["ok"]
    assert (checks["machine"]["ok"], checks["machine"]["mend"]) == (False, "Get a larger one.")
