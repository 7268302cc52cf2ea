"""The same run on a real S3 server: cached from an empty Prefect home, no credential anywhere."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest
import s3fs

from tests.conftest import S3_SECRET
from tests.runs import Bench, states

pytestmark = [pytest.mark.slow, pytest.mark.flow, pytest.mark.ray, pytest.mark.s3]


class CommandLines(threading.Thread):
    """Collect the command lines of all processes while a run goes on."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.seen: set[str] = set()

    def run(self) -> None:
        while not self.done.wait(0.3):
            for process in psutil.process_iter(["cmdline"]):
                self.seen.add(" ".join(process.info["cmdline"] or []))


def test_run_on_s3_from_an_empty_prefect_home(s3_env: str, tmp_path: Path) -> None:
    watch = CommandLines()
    watch.start()
    first = Bench.make(tmp_path / "first", store=f"{s3_env}/store")
    made = first.run()
    assert set(states(made).values()) == {"ran"}

    second = Bench.make(tmp_path / "second", store=f"{s3_env}/store")
    again = second.run()
    watch.done.set()
    watch.join()
    assert set(states(again).values()) == {"cached"}
    assert Path(again["report"]).is_file()
    assert (Path(again["model"]) / "model.safetensors").is_file()

    assert not [line for line in watch.seen if S3_SECRET in line]
    bucket = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    for path in bucket.find(s3_env.removeprefix("s3://")):
        assert S3_SECRET.encode() not in bucket.cat_file(path), path
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert S3_SECRET.encode() not in path.read_bytes(), path
