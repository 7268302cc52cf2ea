"""`openseek model import` and `export`: checkpoints between Hugging Face's layout and ours."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.layers import AsJson, Set, _section

Source = Annotated[str, typer.Argument(help="Folder or URL (s3://bucket/prefix) to read.")]
Target = Annotated[
    str, typer.Argument(help="Folder or URL to write; the same one again goes on after a kill.")
]
EVERY_S = 2.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    model = typer.Typer(help="Checkpoints: Hugging Face's and ours.", no_args_is_help=True)
    model.command("import")(import_)
    model.command("export")(export)
    app.add_typer(model, name="model")


def import_(source: Source, out: Target, set_: Set = None, json_: AsJson = False) -> None:
    """Read a Hugging Face DeepSeek-V3 or OpenSeek-Small-v1 checkpoint into a folder of ours."""
    config = _section("openseek.config.conversion:ImportConfig", set_)
    from openseek.model.gates import import_checked

    model, parity = import_checked(source, out, config, _progress())
    _report(out, model, parity, json_)


def export(
    source: Source,
    out: Target,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of its tokenizer; the default: SOURCE itself.")
    ] = None,
    parity: Annotated[
        bool, typer.Option(help="Compare logits with transformers' (local folders).")
    ] = True,
    set_: Set = None,
    json_: AsJson = False,
) -> None:
    """Write a folder of ours as a Hugging Face checkpoint, for transformers, vLLM or llama.cpp."""
    config = _section("openseek.config.model:ExportConfig", set_)
    from openseek.artifacts.backend import open_backend
    from openseek.model.convert import CONFIG, export_folder
    from openseek.model.gates import export_gate

    if tokenizer is None and (Path(source) / "tokenizer.json").is_file():
        tokenizer = Path(source)
    model = export_folder(source, tokenizer, out, config, _progress())
    compared = None
    if parity and "://" not in source + out:
        with tempfile.TemporaryDirectory(prefix="openseek-parity-") as scratch:
            try:
                compared = export_gate(Path(source), tokenizer, Path(out), config, Path(scratch), 0)
            except BaseException:
                open_backend(out).remove(CONFIG)  # nothing takes it for a model
                raise
    _report(out, model, compared, json_)


def _report(out: str, model: Any, parity: Any, json_: bool) -> None:
    from openseek.model.config import count_parameters

    total, active = count_parameters(model)
    found: dict[str, Any] = {"out": out, "parameters_total": total, "parameters_active": active}
    found |= {"vocab_size": model.vocab_size, "mtp_depth": model.mtp.depth}
    found["max_abs_logit_diff"] = parity.max_abs if parity else None
    if json_:
        print(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        shown = "not compared" if value is None else f"{value:,}" if type(value) is int else value
        print(f"{name:<20} {shown}")


def _progress() -> Callable[[str, int, int], None]:
    began = said = time.monotonic()

    def tell(shard: str, done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < EVERY_S and done < total:
            return
        said = now
        rate = done / max(now - began, 1e-9)
        left = (total - done) / max(rate, 1.0)
        share = 100 * done / max(total, 1)
        print(f"{shard} {share:.0f}% {rate / 1e6:.0f} MB/s, {left:.0f} s left", file=sys.stderr)

    return tell
