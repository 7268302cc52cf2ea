"""The command line from outside: exit codes, messages, and the JSON that scripts read."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from cli_shell import TINY, Shell, finish, tiny

from openseek.artifacts import Store

ROOT = Path(__file__).parents[3]
SLOW = ("torch", "ray", "prefect", "transformers", "pyarrow", "deepspeed", "numpy", "lighteval")


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


@pytest.mark.slow
@pytest.mark.ray
def test_warm_compiles_and_leaves_nothing_in_the_store(home: Path) -> None:
    command = [sys.executable, "-m", "openseek.cli.main", "warm"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compiled in" in done.stdout
    assert sorted(str(p.relative_to(home)) for p in home.rglob("*")) == []
