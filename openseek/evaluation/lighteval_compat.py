"""Make lighteval 0.13 run without a network, on tasks and data of our own.

What does not work otherwise (each was seen): the registry imports every built-in task, some of
which download files at import; xxhash 4 refuses the strings that the loggers hash, after the whole
forward pass; data comes from the hub only. A test of this file is the first thing to look at when
lighteval's version is raised.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import types
from collections.abc import Sequence
from typing import Any

from openseek.errors import ConfigError
from openseek.evaluation.lean_imports import placeholders

LIGHTEVAL = "0.13.0"
Rows = dict[str, Any]


def check_versions() -> None:
    """Refuse versions that this adapter was not written for.

    Raises:
        ConfigError: lighteval or xxhash is missing or of another version.
    """
    for name, wanted in (("lighteval", LIGHTEVAL), ("xxhash", "3.")):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "nothing"
        if not version.startswith(wanted):
            raise ConfigError(
                f"{name} {version} is installed",
                where="evaluation",
                mend=f"Install lighteval=={LIGHTEVAL} with 'xxhash<4' (make setup).",
            )


def import_lighteval(*, lean: bool = True) -> None:
    """Import lighteval once, by default the lean way, and set it up for local use.

    The registry then knows our tasks alone (so they may bear the names of built-in ones), and a
    task's data set is the rows that its prompt function carries.

    Args:
        lean: Leave out what only judges and lighteval's own backends need.
    """
    check_versions()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with placeholders() if lean else contextlib.nullcontext():
        from lighteval.pipeline import Pipeline  # noqa: F401
        from lighteval.tasks.lighteval_task import LightevalTask
        from lighteval.tasks.registry import Registry

    def load_configs(custom_tasks: Any = None, load_multilingual: bool = False) -> Any:
        return Registry._extract_configs(Registry.create_custom_tasks_module(custom_tasks))

    def load_data(task: Any) -> Any:
        return {split: list(rows) for split, rows in task.config.prompt_function.data.items()}

    Registry.load_all_task_configs = staticmethod(load_configs)
    LightevalTask.download_dataset_worker = staticmethod(load_data)


def tasks_module(configs: Sequence[Any]) -> types.ModuleType:
    """Wrap task configs as the module that lighteval takes for custom tasks."""
    module = types.ModuleType("openseek_tasks")
    module.TASKS_TABLE = list(configs)  # type: ignore[attr-defined]
    return module
