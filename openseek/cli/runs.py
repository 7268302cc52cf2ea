"""Commands about runs: run, resume, plan, status, report, export."""

from __future__ import annotations

import json
import os
import shutil
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.errors import ConfigError

Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a key: stages.foundation.tokens=2M.")
]
Force = Annotated[
    list[str] | None, typer.Option("--force", help="Redo this step although it is finished.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Progress on stderr, one JSON object as stdout's last line.")
]
Config = Annotated[Path, typer.Argument(help="YAML configuration, e.g. configs/demo.yaml.")]
StoreRoot = Annotated[
    str, typer.Option("--store", help="Root of the store; empty: $OPENSEEK_STORE or the default.")
]
RunName = Annotated[str, typer.Argument(help="Name of a run; `openseek status` lists them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(resume)
    app.command()(plan)
    app.command()(status)
    app.command()(report)
    app.command()(export)


def run(
    config: Config,
    set_: Set = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    force: Force = None,
    fail_at: Annotated[str, typer.Option(hidden=True)] = "",
    json_: AsJson = False,
) -> None:
    """Run the whole pipeline; what is finished is not done again."""
    from openseek.config.load import load_config

    overrides = [*(set_ or []), *([f"name={name}"] if name else [])]
    resolved = load_config(config, overrides)  # mistakes show before anything slow starts
    _run(str(config), resolved, overrides, force or [], fail_at, json_)


def resume(name: RunName, force: Force = None, json_: AsJson = False) -> None:
    """Go on with a run, with the configuration it was started with."""
    import yaml

    from openseek.config.load import load_config
    from openseek.pipeline.run import load_run

    raw = load_run(_store(), name)["config"]
    home = Path(".openseek/runs") / name
    home.mkdir(parents=True, exist_ok=True)
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False))
    _run(str(path), load_config(path), [], force or [], "", json_)


def _run(
    path: str, resolved: Any, overrides: list[str], force: list[str], fail_at: str, json_: bool
) -> None:
    from openseek.cli.display import LiveDisplay
    from openseek.pipeline.dag import build, select
    from openseek.pipeline.observe import observe
    from openseek.pipeline.usage import MemoryWatch

    nodes = build(resolved)
    select(nodes, force)
    started = time.monotonic()
    with MemoryWatch() as memory, LiveDisplay(len(nodes)) as display:
        observe(display)
        display.console.print(f"run {resolved.name}: {len(nodes)} steps")
        summary = _runner()(path, run_name="", overrides=overrides, force=force, fail_at=fail_at)
    summary["seconds"] = round(time.monotonic() - started, 3)
    summary["peak_rss_bytes"] = memory.peak_bytes
    if json_:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        from openseek.cli.tables import print_summary

        print_summary(summary)


def _runner() -> Any:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", os.environ.get("OPENSEEK_LOG", "CRITICAL"))
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    found = entry_points(group="openseek.runners")
    if not found:
        raise ConfigError(
            "no orchestrator is installed",
            where="openseek run",
            mend="Install the project (`make setup`), which brings its Prefect flows.",
        )
    return next(iter(found)).load()


def plan(
    config: Config,
    set_: Set = None,
    force: Force = None,
    show_config: Annotated[
        bool, typer.Option("--config", help="Print all of the configuration.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Show what a run would do: the steps, what is cached, tokens, FLOPs, bytes, time."""
    from openseek.cli.tables import print_plan
    from openseek.config.load import load_config
    from openseek.pipeline.plan import make_plan

    made = make_plan(load_config(config, set_ or []), force or [])
    if json_:
        print(json.dumps(made, ensure_ascii=False))
    else:
        print_plan(made, show_config)


def status(
    name: Annotated[str | None, typer.Argument(help="Name of a run; empty lists all.")] = None,
    store: StoreRoot = "",
    json_: AsJson = False,
) -> None:
    """Show the runs of the store, or the steps of one."""
    from openseek.cli.tables import print_run, print_runs
    from openseek.pipeline.run import load_run

    opened = _store(store)
    if name is None:
        runs = [load_run(opened, r) for r in opened.runs() if opened.read_ref(r, "_run")]
        _out({"runs": runs}, json_, lambda body: print_runs(body["runs"]))
        return
    body = load_run(opened, name)
    body["steps"] = {n: opened.read_ref(name, n) for n in body["nodes"]}
    _out(body, json_, print_run)


def _out(body: Any, json_: bool, show: Any) -> None:
    if json_:
        print(json.dumps(body, ensure_ascii=False))
    else:
        show(body)


def report(
    name: RunName,
    out: Annotated[Path | None, typer.Option(help="Copy the report there.")] = None,
    store: StoreRoot = "",
    json_: AsJson = False,
) -> None:
    """Print the path of a run's HTML report, or copy it."""
    path = source = _artifact_folder(_store(store), name, "report", "") / "report.html"
    if out is not None:
        path = out / path.name if out.is_dir() else out
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    print(json.dumps({"report": str(path)}, ensure_ascii=False) if json_ else str(path))


def export(
    name: RunName,
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    store: StoreRoot = "",
    json_: AsJson = False,
) -> None:
    """Copy a run's model out of the store as a Hugging Face folder."""
    if out.exists() and any(out.iterdir()):
        raise ConfigError("the folder is not empty", where=str(out), mend="Choose another one.")
    source = _artifact_folder(_store(store), name, "export", "hf/")
    shutil.copytree(source, out, dirs_exist_ok=True)
    print(json.dumps({"model": str(out)}) if json_ else str(out))


def _artifact_folder(store: Any, run: str, node: str, prefix: str) -> Path:
    from openseek.artifacts import Manifest
    from openseek.errors import StoreError
    from openseek.pipeline.run import load_run
    from openseek.pipeline.summary import lay_out

    ref = store.read_ref(run, node)
    if ref is None:
        load_run(store, run)  # a name that is no run at all gets the error that lists them
        raise StoreError(
            f"run {run!r} has no finished step {node!r}",
            where=store.root,
            mend=f"`openseek resume {run}` finishes it.",
        )
    path = f"steps/{ref['step']}/{ref['key']}/_MANIFEST.json"
    manifest = Manifest.from_json(store.backend.read(path)[0], path)
    files = store.files(manifest).under(prefix)
    return lay_out(files, Path(".openseek/runs").resolve() / run / node)


def _store(root: str = "") -> Any:
    from openseek.artifacts import Store, store_root

    return Store(root or store_root(""), Path(".openseek/scratch"))
