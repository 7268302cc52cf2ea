"""Import lighteval without what log-likelihood tasks never use.

`import lighteval.pipeline` takes 11 s on one core, 7 s of it for libraries that only judges,
generation metrics and other backends call. While the block is entered, these names import as
placeholders: modules whose every attribute is a class that accepts anything. At its end they are
gone from `sys.modules`, so that whoever imports one later gets the real thing.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

UNUSED = (
    "inspect_ai",  # another runner
    "nltk", "sacrebleu", "sklearn", "scipy", "latex2sympy2_extended",  # generation metrics
    "git",  # asks for the revision of lighteval's own checkout
    "lighteval.models.model_loader",  # its other backends
    "lighteval.metrics.imports.bert_scorer",
    "lighteval.metrics.utils.extractive_match_utils",
    "lighteval.metrics.utils.math_comparison",
)  # fmt: skip


class _AnyMeta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Anything(metaclass=_AnyMeta):
    """Stands for any class, function, decorator or exception."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        decorated = len(args) == 1 and callable(args[0]) and not kwargs
        return args[0] if decorated else super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return type(self)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name in self.names or name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


@contextlib.contextmanager
def placeholders(names: Sequence[str] = UNUSED) -> Iterator[None]:
    """Let these modules import as placeholders within the block; ones already imported stay."""
    finder = _Finder([n for n in names if n not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if isinstance(m, _Module)]:
            del sys.modules[name]
