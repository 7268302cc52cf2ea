"""The store on a local folder and on a real S3 server: same tests, same guarantees."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openseek.artifacts import Manifest, Spec, Store
from openseek.artifacts.attempt import Attempt
from openseek.artifacts.backend import LocalBackend, open_backend
from openseek.artifacts.gc import collect
from openseek.artifacts.lease import Lease
from openseek.errors import ConfigError, CorruptArtifactError, StoreError, TransientError

SPEC = Spec("clean", 1, {"min_length": 100}, {"documents": "d" * 64})


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    root = str(tmp_path / "store")
    if request.param == "s3":
        root = request.getfixturevalue("s3_env") + "/store"
    return Store(root, tmp_path / "scratch", lease_s=5.0)


def finish(store: Store, spec: Spec = SPEC, texts: tuple[str, ...] = ("one", "two")) -> Manifest:
    with store.attempt(spec) as attempt:
        assert isinstance(attempt, Attempt)
        for i, text in enumerate(texts):
            path = attempt.scratch / f"{i}"
            path.write_text(text)
            attempt.commit_shard(f"{i:06d}", {f"part-{i}.txt": path}, rows=i, stats={"i": i})
        return store.commit(spec, attempt, {"rows": len(texts)}, {"host": "here"})


def test_probe_accepts_a_store_that_keeps_its_promises(store: Store) -> None:
    store.probe()
    assert not list(store.backend.list("_probe"))


def test_probe_refuses_a_store_that_ignores_exclusive_create(tmp_path: Path) -> None:
    class Careless(LocalBackend):
        def create(self, path: str, data: bytes) -> bool:
            self.write(path, data)
            return True

    store = Store(str(tmp_path), tmp_path)
    store.backend = Careless(str(tmp_path))
    with pytest.raises(StoreError, match="second create accepted"):
        store.probe()


def test_finished_step_is_found_with_its_files(store: Store) -> None:
    made = finish(store)
    found = store.find(SPEC)
    assert found == made
    files = store.files(made)
    assert [r.name for r in files.records()] == ["part-0.txt", "part-1.txt"]
    assert files.local("part-1.txt").read_text() == "two"
    assert files.meta == {"rows": 2}
    with store.attempt(SPEC) as again:
        assert again == made


def test_digest_depends_on_content_alone(store: Store) -> None:
    first = finish(store)
    other = finish(store, Spec("clean", 2, SPEC.params, SPEC.inputs))
    assert other.key != first.key
    assert other.content_digest == first.content_digest
    changed = finish(store, Spec("clean", 3, {}, {}), texts=("one", "TWO"))
    assert changed.content_digest != first.content_digest


def test_one_of_sixteen_creators_wins(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: store.backend.create("race", str(i).encode()), range(16)))
    assert sum(won) == 1
    assert store.backend.read("race")[0] == str(won.index(True)).encode()


def test_stale_swap_is_refused(store: Store) -> None:
    store.backend.create("lease", b"1")
    _, version = store.backend.read("lease")
    assert store.backend.swap("lease", b"2", version)
    assert not store.backend.swap("lease", b"3", version)
    assert store.backend.read("lease")[0] == b"2"


def test_loser_of_a_race_adopts_the_winners_manifest(store: Store) -> None:
    winner = finish(store)
    scratch = store.scratch / "late"
    scratch.mkdir(parents=True)
    late = Attempt(store.root, SPEC.folder, "late", scratch)
    (scratch / "x").write_text("something else")
    late.add("x", scratch / "x")
    assert store.commit(SPEC, late, {}, {}) == winner


def test_restart_does_only_the_missing_shards(store: Store) -> None:
    class Killed(BaseException):
        pass

    def interrupted() -> None:
        with store.attempt(SPEC) as attempt:
            path = attempt.scratch / "0"
            path.write_text("one")
            attempt.commit_shard("000000", {"part-0.txt": path}, rows=0, stats={"i": 0})
            (attempt.scratch / "1").write_text("half of tw")
            raise Killed

    with pytest.raises(Killed):
        interrupted()
    assert store.find(SPEC) is None
    with store.attempt(SPEC) as attempt:
        assert list(attempt.shards()) == ["000000"]
    uninterrupted = finish(store, Spec("clean", 9, {}, {}))
    assert finish(store).content_digest == uninterrupted.content_digest


def test_damaged_shard_is_done_again(store: Store) -> None:
    with store.attempt(SPEC) as attempt:
        path = attempt.scratch / "0"
        path.write_text("one")
        record = attempt.commit_shard("000000", {"part-0.txt": path})
    store.backend.remove(f"{SPEC.folder}/{record.files[0].path}")
    with store.attempt(SPEC) as attempt:
        assert attempt.shards() == {}


def test_changed_file_is_never_taken_for_whole(store: Store) -> None:
    made = finish(store)
    stored = f"{made.folder}/{made.files[0].path}"
    store.backend.write(stored, b"eno")
    with pytest.raises(CorruptArtifactError, match=r"part-0\.txt"):
        store.files(made).local("part-0.txt")
    store.backend.write(stored, b"shorter or longer")
    assert store.find(SPEC) is None
    again = finish(store)
    assert again.content_digest == made.content_digest
    assert store.find(SPEC) == again


def test_repair_redoes_damaged_shards_and_keeps_the_others(store: Store) -> None:
    made = finish(store)
    store.backend.write(f"{made.folder}/{made.files[0].path}", b"eno")
    store.invalidate(made.folder)
    with store.attempt(SPEC) as attempt:
        assert list(attempt.shards()) == ["000001"]
    assert finish(store).content_digest == made.content_digest
    assert store.files(store.find(SPEC)).local("part-0.txt").read_text() == "one"


def test_truncated_manifest_is_ignored(store: Store) -> None:
    made = finish(store)
    path = f"{SPEC.folder}/_MANIFEST.json"
    store.backend.write(path, store.backend.read(path)[0][:-40])
    assert store.find(SPEC) is None
    assert finish(store).content_digest == made.content_digest


def test_attempt_and_files_cross_process_borders(store: Store) -> None:
    with store.attempt(SPEC) as attempt:
        copy = pickle.loads(pickle.dumps(attempt))
        path = copy.scratch / "0"
        path.write_text("one")
        copy.commit_shard("000000", {"part-0.txt": path})
        made = store.commit(SPEC, attempt, {}, {})
    files = pickle.loads(pickle.dumps(store.files(made)))
    assert files.local("part-0.txt").read_text() == "one"


def test_checkpoint_is_committed_last_and_verified(store: Store) -> None:
    with store.attempt(SPEC) as attempt:
        assert isinstance(attempt, Attempt)
        folder = attempt.scratch / "step"
        (folder / "optimizer").mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"weights")
        (folder / "optimizer" / "m.bin").write_bytes(b"moments")
        attempt.commit_checkpoint(20, folder, {"tokens": 5})
        store.backend.write(f"{SPEC.folder}/checkpoints/30/model.bin", b"no commit record")
        assert attempt.checkpoints() == [20]
        local, meta = attempt.load_checkpoint(20)
        assert meta == {"tokens": 5}
        assert (local / "optimizer" / "m.bin").read_bytes() == b"moments"
        store.backend.write(f"{SPEC.folder}/checkpoints/20/model.bin", b"WEIGHTS")
        with pytest.raises(CorruptArtifactError, match=r"model\.bin"):
            attempt.load_checkpoint(20)
        attempt.discard_checkpoint(20)
        assert attempt.checkpoints() == []


def test_gc_removes_orphans_and_nothing_else(store: Store) -> None:
    made = finish(store)
    with store.attempt(Spec("clean", 5, {}, {})) as attempt:
        path = attempt.scratch / "0"
        path.write_text("kept: its shard is recorded")
        attempt.commit_shard("000000", {"part-0.txt": path})
        path.write_text("orphan")
        attempt.add("never-named.txt", path)
    report = collect(store, older_than_s=0)
    assert [p.rsplit("/", 1)[1] for p in report.files if "attempts" in p] == ["never-named.txt"]
    assert store.find(SPEC) == made
    with store.attempt(Spec("clean", 5, {}, {})) as attempt:
        assert list(attempt.shards()) == ["000000"]
    young = collect(store, older_than_s=3600, unreferenced=True)
    assert young.files == []
    store.write_ref("run", "clean", {"step": "clean", "key": SPEC.key})
    collect(store, older_than_s=0, unreferenced=True)
    assert store.find(SPEC) == made
    assert not [e for e in store.backend.list("steps") if SPEC.key not in e.path]


def test_gc_leaves_a_live_attempt_alone(store: Store) -> None:
    with store.attempt(SPEC) as attempt:
        path = attempt.scratch / "0"
        path.write_text("in flight")
        attempt.add("part.txt", path)
        report = collect(store, older_than_s=0)
        assert report.kept_live == [SPEC.folder]
        assert report.files == []


def _hold_lease(root: str, ready: multiprocessing.synchronize.Event) -> None:
    assert Lease(open_backend(root), "lease.json", "victim", 600.0).try_acquire() is None
    ready.set()
    signal.pause()


def test_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    victim = context.Process(target=_hold_lease, args=(str(tmp_path), ready))
    victim.start()
    assert ready.wait(60)
    mine = Lease(LocalBackend(str(tmp_path)), "lease.json", "me", 600.0)
    holder = mine.try_acquire()
    assert holder is not None
    assert holder.owner == "victim"
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert mine.try_acquire() is None
    raw = json.loads((tmp_path / "lease.json").read_text())
    assert (raw["owner"], raw["fence"]) == ("me", 1)
    mine.release()
    assert not (tmp_path / "lease.json").exists()


def test_lease_is_renewed_and_a_lost_one_is_not_released(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path))
    lease = Lease(backend, "lease.json", "me", 0.06)
    assert lease.try_acquire() is None
    renewed = threading.Event()
    first = backend.read("lease.json")[1]
    for _ in range(500):
        if backend.read("lease.json")[1] != first:
            renewed.set()
            break
        renewed.wait(0.01)
    assert renewed.is_set()
    stolen = False
    while not stolen:  # as a thief does: only if nothing changed since it looked
        data, version = backend.read("lease.json")
        thief = {**json.loads(data), "owner": "thief"}
        stolen = backend.swap("lease.json", json.dumps(thief).encode(), version)
    lease.release()
    assert json.loads(backend.read("lease.json")[0])["owner"] == "thief"


def test_second_worker_waits_and_adopts(store: Store) -> None:
    waiting, results = threading.Event(), []

    def second() -> None:
        with store.attempt(SPEC, on_wait=lambda _: waiting.set()) as attempt:
            results.append(attempt)

    with store.attempt(SPEC) as attempt:
        assert isinstance(attempt, Attempt)
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        path = attempt.scratch / "0"
        path.write_text("one")
        attempt.commit_shard("000000", {"part-0.txt": path})
        made = store.commit(SPEC, attempt, {}, {})
    thread.join(30)
    assert results == [made]


def test_scratch_of_a_dead_process_is_cleared(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "scratch")
    dead = tmp_path / "scratch" / "attempts" / "old"
    dead.mkdir(parents=True)
    (dead / "_owner").write_text(f"{os.uname().nodename}/another-boot/1/1")
    with store.attempt(SPEC) as live:
        assert store.clear_dead_scratch() == 1
        assert live.scratch.is_dir()
    assert not dead.exists()


@pytest.mark.s3
def test_wrong_secret_is_named_without_the_secret(
    s3_env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openseek.artifacts import backend

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    backend._backend.cache_clear()
    with pytest.raises(StoreError, match="refused the credentials") as caught:
        Store(f"{s3_env}/store", tmp_path).probe()
    assert "not-the-secret" not in str(caught.value)


def test_unreachable_endpoint_is_transient_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openseek.artifacts import backend

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    backend._backend.cache_clear()
    with pytest.raises(TransientError, match="AWS_ENDPOINT_URL") as caught:
        Store("s3://bucket/store", tmp_path).probe()
    assert "very-secret" not in str(caught.value)


def test_credentials_in_the_url_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY") as caught:
        Store("s3://key:hunter2@bucket/store", tmp_path)
    assert "hunter2" not in str(caught.value)


def test_listing_shards_while_others_commit_loses_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "scratch")
    with store.attempt(SPEC) as attempt:
        assert isinstance(attempt, Attempt)

        def commit(i: int) -> None:
            path = attempt.scratch / str(i)
            path.write_text(str(i))
            attempt.commit_shard(f"{i:06d}", {f"{i}.txt": path})

        with ThreadPoolExecutor(4) as pool:
            commits = [pool.submit(commit, i) for i in range(200)]
            while not all(c.done() for c in commits):
                attempt.shards()
        assert len(attempt.shards()) == 200
