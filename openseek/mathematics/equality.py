"""Algebra in a process that can be killed: `python -m openseek.mathematics.equality`.

The process reads lines of JSON `[left, right]` from stdin and answers `true` or `false`. Each pair
may take `CPU_S` seconds of its own time, so that a busy machine gives the same scores; then the
kernel ends the process, the pair counts as unequal, and another process is started when it is
needed. Memory is limited as well.
"""

from __future__ import annotations

import atexit
import functools
import json
import math
import os
import resource
import selectors
import subprocess
import sys

from openseek.errors import PermanentError

CPU_S = 5
"""Seconds of processor time for one pair; what sympy decides at all it decides in under one."""
TIMEOUT_S = 120.0
"""Seconds of waiting, after which the process is taken for stuck."""
MEMORY_BYTES = 4 << 30
MAX_CHARS = 400
"""Longer expressions are not parsed: answers of the sets have at most about 150 characters."""


class Algebra:
    """A child process that compares expressions, started when it is first needed.

    Args:
        cpu_s: Seconds of processor time for one pair.
        wait_s: Seconds of waiting for one pair, after which the process is taken for stuck.
    """

    def __init__(self, cpu_s: int = CPU_S, wait_s: float = TIMEOUT_S) -> None:
        self.cpu_s, self.wait_s = cpu_s, wait_s
        self.killed = 0
        """Pairs that ended the process or hung it."""
        self._child: subprocess.Popen[bytes] | None = None

    def equal(self, left: str, right: str) -> bool:
        """Compare two expressions in LaTeX; False if they cannot be read or take too long."""
        if max(len(left), len(right)) > MAX_CHARS:
            return False
        child = self._started()
        if child is None or child.stdin is None:
            return False
        try:
            child.stdin.write(json.dumps([left, right]).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            self.close()
            return False
        answer = self._line(self.wait_s)
        if answer is None:
            self.killed += 1
            self.close()
        return answer == "true"

    def close(self) -> None:
        """Kill the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _started(self) -> subprocess.Popen[bytes] | None:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "openseek.mathematics.equality", str(self.cpu_s)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            if self._line(TIMEOUT_S) != "ready":
                self.close()
                raise PermanentError(
                    "the process that compares expressions does not start",
                    mend="Is latex2sympy2_extended installed (make setup)?",
                )
        return self._child

    def _line(self, wait_s: float) -> str | None:
        """Return the next line of the child's output; None if it ended or is stuck."""
        assert self._child is not None
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._child.stdout, selectors.EVENT_READ)
            if not waiting.select(wait_s):
                return None
        return self._child.stdout.readline().decode().strip() or None


@functools.cache
def _shared(pid: int) -> Algebra:
    algebra = Algebra()
    atexit.register(algebra.close)
    return algebra


def symbolically_equal(left: str, right: str) -> bool:
    """Compare two expressions in LaTeX by algebra, in this process's own child."""
    return _shared(os.getpid()).equal(left, right)


def _compare(left: str, right: str) -> bool:
    """Compare in this very process: parse, then subtract, evaluate and simplify."""
    import sympy
    from latex2sympy2_extended import latex2sympy

    one, other = latex2sympy(left), latex2sympy(right)
    if one == other:
        return True
    if isinstance(one, sympy.Equality) and isinstance(other, sympy.Equality):
        one, other = one.lhs - one.rhs, other.lhs - other.rhs
        ratio = sympy.simplify(one / other)
        return bool(ratio.is_number and ratio != 0)
    if not isinstance(one, sympy.Expr) or not isinstance(other, sympy.Expr):
        return False
    if one.is_number and other.is_number:
        gap = abs(complex(one.evalf(30)) - complex(other.evalf(30)))
        return gap <= 1e-9 * max(1.0, abs(complex(other.evalf(30))))
    return bool(sympy.simplify(one - other) == 0)


def _limit_time(cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def main() -> None:
    """Answer pairs until stdin ends."""
    cpu_s = int(sys.argv[1]) if len(sys.argv) > 1 else CPU_S
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    _compare("x^2+2x+1", "(x+1)^2")  # imports, and what sympy builds when it is first used
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        _limit_time(cpu_s)
        try:
            found = _compare(*json.loads(line))
        except Exception:  # parsers of model output fail in many ways; what cannot be read differs
            found = False
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
