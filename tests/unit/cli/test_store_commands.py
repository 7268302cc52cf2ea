"""The commands on a store: list, show, verify, collect."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from cli_shell import Shell, damage, finish

from openseek.artifacts import Store


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
