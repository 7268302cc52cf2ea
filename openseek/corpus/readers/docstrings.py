"""The documentation inside Python code: prose, formulas and examples of a module."""

from __future__ import annotations

import ast
import inspect
import warnings

MIN_CHARS = 80
"""Shorter docstrings are a retelling of the name."""


def docstrings(code: str, module: str = "") -> str:
    """Join the docstrings of a module and its public classes and functions, in their order.

    Args:
        code: Python source.
        module: Its dotted name, which heads each docstring.

    Returns:
        The text; empty when the module documents nothing.

    Raises:
        ValueError: It is not valid Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            tree = ast.parse(code)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"not valid Python: {error}") from error
    parts: list[str] = []
    _collect(tree, module, parts)
    return "\n\n".join(parts)


def _collect(node: ast.Module | ast.ClassDef, name: str, parts: list[str]) -> None:
    _add(node, name, parts)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name.startswith("_"):
                continue
            dotted = f"{name}.{child.name}" if name else child.name
            if isinstance(child, ast.ClassDef):
                _collect(child, dotted, parts)
            else:
                _add(child, dotted, parts)


def _add(node: ast.AST, name: str, parts: list[str]) -> None:
    text = ast.get_docstring(node, clean=False)  # type: ignore[arg-type]
    if text and len(clean := inspect.cleandoc(text).strip()) >= MIN_CHARS:
        parts.append(f"{name}\n\n{clean}" if name else clean)
