"""prefect.yaml against a real server: what it says is what the server has."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.flow]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`make ui` on a free port, with a home of its own."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    env = {**os.environ, "PREFECT_HOME": str(home), "OPENSEEK_UI_PORT": str(port)}
    with (home / "ui.log").open("w") as log:
        ui = subprocess.Popen(
            [sys.executable, str(ROOT / "deployments" / "local_ui.py")],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert ui.stdout is not None
        line = ui.stdout.readline()
        assert f"http://127.0.0.1:{port}/v2" in line, (home / "ui.log").read_text()[-3000:]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30) as client:
            yield client
    finally:
        ui.terminate()
        ui.wait(60)


def test_page_is_served(api: httpx.Client) -> None:
    url = str(api.base_url).replace("/api", "/v2").rstrip("/")
    with urllib.request.urlopen(url, timeout=30) as page:
        assert "prefect" in page.read().decode().lower()


def test_every_deployment_is_there_as_written(api: httpx.Client) -> None:
    wanted = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    found = {d["name"]: d for d in api.post("/deployments/filter", json={}).json()}
    assert set(found) == {d["name"] for d in wanted}
    for deployment in wanted:
        made = found[deployment["name"]]
        assert made["entrypoint"] == deployment["entrypoint"]
        assert made["parameters"] == deployment["parameters"]
        assert made["description"] == deployment["description"]
        assert made["work_pool_name"] == "openseek-local"


def test_nightly_has_a_paused_schedule(api: httpx.Client) -> None:
    found = {d["name"]: d for d in api.post("/deployments/filter", json={}).json()}
    [schedule] = found["nightly"]["schedules"]
    assert schedule["slug"] == "nightly"
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["active"] is False
    assert not found["demo"]["schedules"]


def test_zombie_automation_is_there(api: httpx.Client) -> None:
    names = [a["name"] for a in api.post("/automations/filter", json={}).json()]
    assert names == ["zombie"]


def test_parameters_have_descriptions_for_the_form(api: httpx.Client) -> None:
    found: dict[str, Any] = {d["name"]: d for d in api.post("/deployments/filter", json={}).json()}
    fields = found["demo"]["parameter_openapi_schema"]["properties"]
    assert set(fields) == {"config", "run_name", "seed", "overrides", "force", "fail_at"}
    assert all(f.get("description") for f in fields.values())


def test_keys_of_prefect_yaml_are_known() -> None:
    """Prefect accepts misspelt keys in silence; this does not."""
    known = {
        "name", "entrypoint", "description", "tags", "work_pool", "concurrency_limit",
        "parameters", "schedules",
    }  # fmt: skip
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        assert set(deployment) <= known
        assert (ROOT / deployment["entrypoint"].split(":")[0]).is_file()
