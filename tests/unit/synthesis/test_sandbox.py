"""Programs that mean harm, in the sandbox as this machine allows it and without namespaces."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import psutil
import pytest

from openseek.errors import PermanentError
from openseek.synthesis.verification import sandbox
from openseek.synthesis.verification.sandbox import SandboxLimits, enforceable, run_program

SMALL = SandboxLimits(
    cpu_s=1, wall_s=1.5, memory_bytes=256 << 20, file_bytes=1 << 20, processes=8,
    output_bytes=4096,
)  # fmt: skip
PATIENT = SandboxLimits(wall_s=60, processes=8)


def left(mark: str) -> list[int]:
    """List living processes that have a word in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if mark in " ".join(words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


class TestHarmless:
    def test_exit_codes_and_output(self) -> None:
        done = run_program({"main.py": "print('said')\nimport sys; print('loud', file=sys.stderr)"})
        assert (done.status, done.code) == ("passed", 0)
        assert sorted(done.output.split()) == ["loud", "said"]
        assert run_program({"main.py": "raise SystemExit(3)"}).code == 3
        broken = run_program({"main.py": "1/0"})
        assert broken.status == "failed"
        assert "ZeroDivisionError" in broken.output
        crash = run_program({"main.py": "import os; os.kill(os.getpid(), 11)"})
        assert (crash.status, crash.code) == ("crashed", 128 + 11)

    def test_files_beside_it_and_threads_work(self) -> None:
        main = (
            "import threading, helper, tempfile, random, decimal\n"
            "t = threading.Thread(target=helper.say); t.start(); t.join()\n"
            "open('note', 'w').write('x'); print(open('note').read())"
        )
        main = "import sys; sys.path.insert(0, '.')\n" + main
        done = run_program({"main.py": main, "helper.py": "def say(): print('hello')"})
        assert done.output.split() == ["hello", "x"]

    def test_it_says_what_it_enforces(self) -> None:
        found = enforceable()
        assert set(found) == {"network", "processes", "disk", "files", "user", "forks"}
        bare = run_program({"main.py": ""}, isolate=False).enforced
        assert bare["network"] in ("TCP refused", "open")
        assert bare["processes"] == "process group"

    def test_a_sandbox_that_does_not_start_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sandbox, "_JAIL", tmp_path / "missing.py")
        with pytest.raises(PermanentError, match="does not work"):
            run_program({"main.py": ""})


@pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "without"])
class TestHarmful:
    def test_an_endless_loop_runs_out_of_processor_time(self, isolate: bool) -> None:
        limits = SandboxLimits(cpu_s=1, wall_s=60)
        done = run_program({"main.py": "while True: pass"}, limits, isolate=isolate)
        assert done.status == "crashed"

    def test_sleeping_past_the_clock(self, isolate: bool) -> None:
        main = "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n"
        main += "print('before', flush=True)\ntime.sleep(1000)"
        done = run_program({"main.py": main}, SMALL, isolate=isolate)
        assert (done.status, done.output.strip()) == ("timeout", "before")

    def test_a_memory_hog(self, isolate: bool) -> None:
        done = run_program({"main.py": "x = bytearray(1 << 30)"}, SMALL, isolate=isolate)
        assert done.status == "failed"
        assert "MemoryError" in done.output

    def test_endless_output_is_cut(self, isolate: bool) -> None:
        main = "import sys\nwhile True: sys.stdout.write('x' * 10000)"
        done = run_program({"main.py": main}, PATIENT, isolate=isolate)
        assert done.status == "output"
        assert len(done.output) == PATIENT.output_bytes

    def test_a_huge_file(self, isolate: bool) -> None:
        main = "f = open('big', 'wb')\nfor _ in range(100): f.write(bytes(1 << 20))\nprint('ok')"
        done = run_program({"main.py": main}, SMALL, isolate=isolate)
        assert done.status == "failed"
        assert "ok" not in done.output

    def test_a_fork_bomb(self, isolate: bool) -> None:
        main = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
        before = len(psutil.pids())
        done = run_program({"main.py": main}, SMALL, isolate=isolate)
        assert done.status in ("timeout", "crashed")
        assert done.enforced["forks"] != "open"
        assert len(psutil.pids()) < before + 50

    def test_orphans_in_sessions_of_their_own_die_with_it(self, isolate: bool) -> None:
        mark = f"orphan-{os.getpid()}-{isolate}"
        child = "import time; time.sleep(1000)"
        main = (
            "import subprocess, sys\n"
            f"subprocess.Popen([sys.executable, '-c', {child!r}, {mark!r}],"
            " start_new_session=True)\nprint('left it')"
        )
        done = run_program({"main.py": main}, PATIENT, isolate=isolate)
        if done.enforced["forks"] == "seccomp":  # it could not even start one
            assert "PermissionError" in done.output
        else:
            assert (done.status, done.output.strip()) == ("passed", "left it")
        assert left(mark) == []

    def test_writing_reading_and_deleting_outside(self, isolate: bool, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("the secret")
        tmp_path.chmod(0o777)
        secret.chmod(0o666)
        main = f"""
import os, shutil
for act in (
    lambda: open({str(secret)!r}, "w").write("x"),
    lambda: open({str(secret)!r}).read(),
    lambda: os.remove({str(secret)!r}),
    lambda: shutil.rmtree({str(tmp_path)!r}),
    lambda: open({str(tmp_path / "new")!r}, "w"),
    lambda: os.rename({str(secret)!r}, "mine"),
    lambda: os.symlink({str(secret)!r}, "way") or open("way").read(),
    lambda: os.listdir(os.path.expanduser("~root")),
    lambda: open("/etc/passwd").read(),
):
    try:
        act()
        print("DONE")
    except OSError:
        print("refused")
"""
        done = run_program({"main.py": main}, isolate=isolate)
        assert done.enforced["files"] == "landlock"
        assert done.output.split() == ["refused"] * 9
        assert secret.read_text() == "the secret"

    def test_the_environment_holds_no_secret(
        self, isolate: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENSEEK_TEST_KEY", "sk-never-to-be-seen")
        main = (
            "import glob, json, os\nfound = json.dumps(dict(os.environ))\n"
            "for name in glob.glob('/proc/*/environ'):\n"
            "  try: found += open(name).read()\n  except OSError: pass\nprint(found)"
        )
        done = run_program({"main.py": main}, isolate=isolate)
        assert "sk-never" not in done.output
        assert set(json.loads(done.output.split("}")[0] + "}")) <= {
            "PATH", "HOME", "TMPDIR", "LANG", "PYTHONHASHSEED", "OMP_NUM_THREADS", "LC_CTYPE"
        }  # fmt: skip

    def test_connecting_to_this_machine(self, isolate: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            main = (
                "import socket\n"
                f"try: socket.create_connection(('127.0.0.1', {port}), 2); print('in')\n"
                "except OSError: print('refused')"
            )
            done = run_program({"main.py": main}, isolate=isolate)
        assert done.output.strip() == "refused"

    def test_killing_the_one_who_watches(self, isolate: bool) -> None:
        main = (
            "import os\n"
            f"for pid in (os.getppid(), {os.getpid()}, -1):\n"
            "  try: os.kill(pid, 9); print('killed', pid)\n"
            "  except OSError: print('refused')"
        )
        done = run_program({"main.py": main}, isolate=isolate)
        assert psutil.pid_exists(os.getpid())
        assert f"killed {os.getpid()}" not in done.output
