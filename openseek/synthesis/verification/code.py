"""Rows with tests: the answer's code must pass them in the sandbox, and nothing must not."""

from __future__ import annotations

import re

from openseek.config.verification import CodeCheck
from openseek.errors import ConfigError
from openseek.synthesis.rows import Row
from openseek.synthesis.verification.rules import Finding
from openseek.synthesis.verification.sandbox import (
    SandboxLimits,
    SandboxResult,
    enforceable,
    run_program,
)

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.S | re.I)
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_SAID = 500
_LOADED = "<the answer is loaded>"
_MAIN = f"""
space = {{"__name__": "answer"}}
with open("answer.py", encoding="utf-8") as f:
    exec(compile(f.read(), "answer.py", "exec"), space)
print({_LOADED!r}, flush=True)
space["__name__"] = "__main__"
with open("tests.py", encoding="utf-8") as f:
    exec(compile(f.read(), "tests.py", "exec"), space)
"""


def code_of(answer: str) -> str:
    """Return the Python in an answer: its fenced blocks, else the whole of it."""
    blocks = _FENCE.findall(answer)
    return "\n\n".join(blocks) if blocks else answer


def check_code(row: Row, config: CodeCheck) -> Finding:
    """Run a row's tests after its answer's code.

    The answer is loaded as a module (`if __name__ == "__main__"` is not entered); one that ends
    the program before the tests run has not passed them.

    Returns:
        A finding: score `code` 1; reasons `no_code`, `code_failed`, `code_crashed`, `code_timeout`,
        `code_output`, and `tests_empty` where the tests pass without the answer.

    Raises:
        ConfigError: `strict`, and the sandbox cannot close the network or the files here.
    """
    code = code_of(row.answer)
    if not code.strip():
        return Finding("no_code")
    _refuse_open(config)
    found = _run(code, row.tests, config)
    if found.status != "passed" or _LOADED not in found.output:
        status = found.status if found.status != "passed" else "failed"
        said = _ADDRESS.sub("0x", found.output.replace(_LOADED, ""))[-_SAID:].strip()
        return Finding(f"code_{status}", details={"exit_code": found.code, "output": said})
    if config.control and _run("", row.tests, config).status == "passed":
        return Finding("tests_empty")
    return Finding("", {"code": 1})


def _run(code: str, tests: str, config: CodeCheck) -> SandboxResult:
    limits = SandboxLimits(
        config.cpu_s, config.wall_s, config.memory_mib << 20, config.file_mib << 20,
        config.processes, config.output_kib << 10,
    )  # fmt: skip
    return run_program({"main.py": _MAIN, "answer.py": code, "tests.py": tests}, limits)


def _refuse_open(config: CodeCheck) -> None:
    found = enforceable()
    open_ = [what for what in ("network", "files") if found[what] == "open"]
    if config.strict and open_:
        raise ConfigError(
            f"programs of a model would run here with {' and '.join(open_)} open to them",
            where="synthesis.verification.code",
            mend="Run on Linux 5.13 or newer with user namespaces, or set code.enabled=false, or "
            "strict=false where the whole machine is closed.",
        )
