"""RL code: a function to write, with tests that decide.

The row keeps {query, answer, tests}: the answer is the teacher's own solution, and `tests` is a
program of assertions that ends with 0 after right code. Here both must be valid Python that belong
together; whether the solution passes its tests is for the verification to run.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes import problems
from openseek.synthesis.recipes.wording import Text, Texts, need, plain, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "rl_code"
VERSION = 1
GIVES = "knowledge:code"

_MIN_TESTS = 3
_USER = {
    "en": """Write one new programming task in Python on these topics: {topics}
It must need these key points: {key_points}

The task asks for one function of the standard library alone, names it and its arguments, says \
what it returns (also for empty or extreme input), and has one right result for each input: \
nothing random, no files, no network, no keyboard. Make it differ from these examples.

Examples:
{exemplars}

Give the task in words, the function's name, a correct solution, and five to eight tests. Each \
test is one line of Python: assert name(arguments) == result, with ordinary and extreme cases.

Shape: {{"task": "...", "name": "...", "solution": "def ...", "tests": ["assert ..."]}}""",
    "zh": """请就以下主题编写一道新的 Python 编程题：{topics}
题目必须用到这些知识点：{key_points}

题目要求只用标准库编写一个函数，写明函数名和参数，说明返回值（包括空输入和极端输入），每个输入只有一个正确\
结果：不使用随机数、文件、网络和键盘输入。题目要与下面的例子不同。

例子：
{exemplars}

请给出题目的文字说明、函数名、一个正确的解答，以及五到八个测试。每个测试是一行 Python：\
assert 函数名(参数) == 结果，包含普通情况和极端情况。

格式：{{"task": "...", "name": "...", "solution": "def ...", "tests": ["assert ..."]}}""",
}


class Task(BaseModel):
    """The answer's shape."""

    task: Text
    name: Text
    solution: Text
    tests: Annotated[Texts, Field(min_length=1)]


def check_solution(code: str, name: str) -> None:
    """Demand valid code that defines the function.

    Raises:
        RowFailure: `bad_solution`.
    """
    tree = _parse(code)
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} if tree else set()
    if name not in defined:
        raise RowFailure("bad_solution", "the solution is no Python that defines the function")


def usable_tests(tests: list[str], name: str) -> list[str]:
    """Keep the tests that are one valid assertion each and call the function."""
    kept = []
    for test in tests:
        tree = _parse(test := plain(test))
        if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assert):
            continue
        calls = (n.func for n in ast.walk(tree.body[0].test) if isinstance(n, ast.Call))
        if any(isinstance(f, ast.Name) and f.id == name for f in calls):
            kept.append(test)
    return list(dict.fromkeys(kept))


def _parse(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Write one task with its solution and tests.

    Raises:
        RowFailure: bad_solution, `few_tests`, or the answer has no valid shape.
    """
    ask = prompt(
        f"{NAME}/write", source.lang, VERSION, problems.SYSTEM, _USER, Task,
        **problems.wishes(source),
    )  # fmt: skip
    made = await asker.ask(replace(ask, items=(5, 8)), Task)
    query, name = need(made.task, "no_problem"), made.name.strip().rstrip("()")
    code = plain(made.solution)
    check_solution(code, name)
    tests = usable_tests(made.tests, name)
    if len(tests) < _MIN_TESTS:
        raise RowFailure("few_tests", f"fewer than {_MIN_TESTS} usable tests")
    if f"{name}(" not in query and f"`{name}`" not in query:
        words = {"en": "Write it as the Python function `{}`.", "zh": "请写成 Python 函数 `{}`。"}
        query = f"{query}\n{words[source.lang].format(name)}"
    extra = {**problems.lineage(source), "name": name, "n_tests": len(tests)}
    return [Row(query, code, (), extra, kind="rl", tests="\n".join(tests) + "\n")]
