"""`openseek doctor`: is everything here that a run needs, and if not, what mends it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.warm import warm
from openseek.errors import OpenSeekError

Check = tuple[str, Callable[[str], str]]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(doctor)
    app.command()(warm)


def doctor(
    store: Annotated[
        str, typer.Option("--store", help="Store to test; empty: $OPENSEEK_STORE or the default.")
    ] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check Python, packages, disk, memory, Ray, DeepSpeed, the sandbox and the store."""
    results = [_try(name, check, store) for name, check in CHECKS]
    if json_:
        print(json.dumps({"checks": results}, ensure_ascii=False))
    else:
        for result in results:
            mark = "ok  " if result["ok"] else "FAIL"
            print(f"{mark} {result['check']:<12} {result['found']} [{result['seconds']}s]")
            if not result["ok"]:
                print(f"     mend: {result['mend']}")
    if not all(r["ok"] for r in results):
        raise typer.Exit(1)


class NotWellError(OpenSeekError):
    """A check failed; the mend says what to do."""


def _try(name: str, check: Callable[[str], str], store: str) -> dict[str, Any]:
    started = time.monotonic()
    result: dict[str, Any] = {"check": name, "ok": True, "mend": ""}
    try:
        result["found"] = check(store)
    except OpenSeekError as error:
        result |= {"ok": False, "found": error.what, "mend": error.mend or "See the message."}
    except Exception as error:  # a broken package can raise anything; the doctor goes on
        result |= {"ok": False, "found": f"{type(error).__name__}: {error}"}
        result["mend"] = "Remove .venv and run `make setup`."
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def _python(_: str) -> str:
    return f"Python {sys.version.split()[0]} in {sys.prefix}"


def _packages(_: str) -> str:
    from packaging.requirements import Requirement

    wrong = []
    wanted = [Requirement(r) for r in requires("openseek-pipeline") or []]
    for requirement in (r for r in wanted if r.marker is None or r.marker.evaluate()):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found.split("+")[0], prereleases=True):
            wrong.append(f"{requirement.name} is {found}, needed {requirement.specifier}")
    for clash in ("opencc-py", "opencc-python-reimplemented", "fasttext", "fasttext-wheel"):
        try:
            version(clash)
            wrong.append(f"{clash} overwrites a package that we use")
        except PackageNotFoundError:
            continue
    if wrong:
        raise NotWellError(
            "; ".join(wrong), mend="`make setup` installs what requirements.lock names."
        )
    return f"{len(wanted)} requirements met"


def _machine(_: str) -> str:
    import psutil

    memory = psutil.virtual_memory().available / 1e9
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{os.cpu_count()} cores, {memory:.1f} GB memory and {free:.0f} GB disk free"
    if memory < 6:
        raise NotWellError(found, mend="The demo needs 6 GB: close something.")
    if free < 5:
        raise NotWellError(found, mend="Free 5 GB, or set runtime.store to another disk.")
    return found


def _accelerator(_: str) -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return "none: training runs on the CPU"


def _ray(_: str) -> str:
    from openseek.compute import map_shards, shutdown
    from openseek.config.runtime import RuntimeConfig

    answers = map_shards(_square, [1, 2, 3], runtime=RuntimeConfig(workers=1))
    shutdown()
    if answers != [1, 4, 9]:
        raise NotWellError(f"Ray computed {answers}", mend="Remove .venv and run `make setup`.")
    return f"Ray {version('ray')} ran three tasks"


def _square(number: int) -> int:
    return number * number


def _deepspeed(_: str) -> str:
    import deepspeed  # noqa: F401  (that it imports is the check)
    from deepspeed.accelerator import get_accelerator

    name = get_accelerator().communication_backend_name()
    return f"DeepSpeed {version('deepspeed')}, {get_accelerator().device_name()} over {name}"


def _store(root: str) -> str:
    from openseek.artifacts import Store, store_root

    store = Store(root or store_root(""), Path(".openseek/scratch"))
    store.probe()
    return f"{store.root}: exclusive create and compare-and-swap work"


def _sandbox(_: str) -> str:
    from openseek.synthesis.verification.sandbox import enforceable

    found = enforceable()
    told = ", ".join(f"{what}: {how}" for what, how in sorted(found.items()))
    if "open" in (found["network"], found["files"]):
        return f"{told}; synthetic code is not run here (synthesis.verification.code.strict)"
    return told


CHECKS: list[Check] = [
    ("python", _python),
    ("packages", _packages),
    ("machine", _machine),
    ("accelerator", _accelerator),
    ("store", _store),
    ("ray", _ray),
    ("deepspeed", _deepspeed),
    ("sandbox", _sandbox),
]
