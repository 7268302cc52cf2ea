"""`make ui`: a Prefect server, a worker and the deployments of prefect.yaml, on this machine.

Everything lives under .openseek/prefect and ends with Ctrl-C. Ports and home can be set with
OPENSEEK_UI_PORT and PREFECT_HOME.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
POOL = "openseek-local"


def environment(port: int) -> dict[str, str]:
    """Settings of server and worker: our own home, a relative UI address, no telemetry."""
    env = dict(os.environ)
    env.setdefault("PREFECT_HOME", str(ROOT / ".openseek" / "prefect"))
    env.setdefault("OMP_NUM_THREADS", "1")
    env |= {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_API_URL": "/api",  # with --port alone the UI would ask port 4200
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # lets the zombie automation see dead runs
        "TOKENIZERS_PARALLELISM": "false",
        "PATH": f"{BIN}:{env.get('PATH', '')}",
    }
    return env


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float) -> None:
    """Wait until the server answers; shows the end of its log if it dies instead."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text()[-2000:]
            sys.exit(f"the Prefect server did not start; {log} ends with\n{tail}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    sys.exit(f"no answer from {url} after {timeout_s:.0f} s; see {log}")


def prefect(env: dict[str, str], *args: str) -> str:
    """Run the prefect command and return what it printed."""
    command = [str(BIN / "prefect"), "--no-prompt", *args]
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"`prefect {' '.join(args)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def deploy(env: dict[str, str]) -> None:
    """Make the pool and the deployments; a new nightly schedule starts paused."""
    pools = prefect(env, "work-pool", "ls")
    if POOL not in pools:
        prefect(env, "work-pool", "create", POOL, "--type", "process")
    known = "pretrain/nightly" in prefect(env, "deployment", "ls")
    prefect(env, "deploy", "--all")
    if not known:
        pause_schedules(env, "pretrain/nightly")
    automations = ROOT / "deployments" / "automations"
    existing = prefect(env, "automation", "ls")
    for path in sorted(automations.glob("*.yaml")):
        if path.stem not in existing:
            prefect(env, "automation", "create", "--from-file", str(path))


def pause_schedules(env: dict[str, str], deployment: str) -> None:
    """Pause every schedule of a deployment."""
    listed = prefect(env, "deployment", "inspect", deployment, "--output", "json")
    for schedule in json.loads(listed)["schedules"]:
        prefect(env, "deployment", "schedule", "pause", deployment, schedule["id"])


def port_is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of this machine."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def main() -> None:
    """Start everything, print the address, and stop it on Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = int(os.environ.get("OPENSEEK_UI_PORT", "4200"))
    parser.add_argument("--port", type=int, default=default, help="port of the UI")
    port = parser.parse_args().port
    if not port_is_free(port):
        sys.exit(f"port {port} is taken: set OPENSEEK_UI_PORT to another one, or stop what uses it")
    env = environment(port)
    home = Path(env["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    processes = []

    def start(name: str, *args: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = home / f"{name}.log"
        # A background job of a shell ignores SIGINT, which Prefect's worker stops by.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with log.open("ab") as f:
            process = subprocess.Popen(
                [str(BIN / "prefect"), *args], env=env, cwd=ROOT, stdout=f, stderr=f
            )
        processes.append(process)
        return process, log

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server, log = start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        wait_for(f"http://127.0.0.1:{port}/api/health", server, log, 120)
        deploy(env)
        start("worker", "worker", "start", "--pool", POOL, "--name", "local")
        print(f"Prefect UI: http://127.0.0.1:{port}/v2/deployments (Ctrl-C stops it)", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("stopping", flush=True)
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
