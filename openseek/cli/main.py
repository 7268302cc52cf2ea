"""Entry point: gather the commands, turn errors into exit codes.

0 done, 1 failed (the message has the mend), 2 wrong usage or configuration.
"""

from __future__ import annotations

import json
import logging
import os
import sys

import typer

from openseek.cli import boards, doctor, layers, models, runs, store
from openseek.errors import ConfigError, OpenSeekError

app = typer.Typer(
    name="openseek",
    help="Raw corpora in, a trained and evaluated mixture-of-experts model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs.register(app)
store.register(app)
doctor.register(app)
layers.register(app)
models.register(app)
boards.register(app)


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(
        level=os.environ.get("OPENSEEK_LOG", "WARNING").upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        sys.exit(app(standalone_mode=False) or 0)  # typer.Exit comes back as its code
    except OpenSeekError as error:
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1, type(error).__name__)
    except typer.Abort:
        _fail("stopped; run the same command again to go on", 130, "Abort")
    except KeyboardInterrupt:
        _fail("stopped; run the same command again to go on", 130, "KeyboardInterrupt")
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # click's usage errors
            error.show()
            _report(str(getattr(error, "message", error)), "UsageError")
            sys.exit(2)
        if os.environ.get("OPENSEEK_LOG", "").upper() == "DEBUG":
            raise
        mend = "This is a defect: OPENSEEK_LOG=debug shows the traceback"
        _fail(f"{type(error).__name__}: {error}. {mend}", 1, type(error).__name__)


def _fail(message: str, code: int, kind: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    _report(message, kind)
    sys.exit(code)


def _report(message: str, kind: str) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"state": "failed", "error": message, "kind": kind}, ensure_ascii=False))


if __name__ == "__main__":
    main()
