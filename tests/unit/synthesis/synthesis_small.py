from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.synthesis import SourceDocument

KEY = "sk-test-7b1e0d-never-to-be-seen"
KEY_ENV = "OPENSEEK_TEST_TEACHER_KEY"

ENGLISH = """The Baltic Sea is an inland sea of the Atlantic Ocean. It is enclosed by nine
countries.

Its water was formed by melting ice about twelve thousand years ago. The salinity of the water is
a third of that of the oceans, because many rivers carry fresh water into the basin. If the inflow
of salt water from the North Sea stops for years, the deep basins lose their oxygen.

To measure the inflow of salt water, stations in the Danish straits record salinity and currents.
The cod of the Baltic Sea depends on the inflow of salt water for its eggs to float. The Helsinki
Commission was founded by the coastal states in 1974. Fertiliser from farms reaches the Baltic Sea
and feeds algae, and dead algae use up oxygen in the deep basins. Salt water and oxygen decide
together how many cod the Baltic Sea can feed."""

CHINESE = (
    "长江是亚洲第一长河。长江的干流由青藏高原流向东海。因为上游落差很大，所以长江的水能资源十分丰富。"
    "三峡水库由国家电力部门管理。如果汛期降水过多，下游平原就会面临洪水的威胁。"
    "为了减轻洪水的威胁，人们在长江沿岸修建了堤坝和分洪区。"
    "长江流域的湖泊可以调节洪水，洞庭湖和鄱阳湖在汛期吸收大量洪水。"
    "围湖造田使湖泊面积缩小，湖泊调节洪水的能力随之下降。"
    "退田还湖以后，湖泊面积逐渐恢复，长江流域的洪水调节能力也得到了改善。"
)

CODE = '''"""Helpers."""


def clamp(value: float, low: float, high: float) -> float:
    """Limit a value to the closed interval from low to high."""
    if value < low:
        return low
    return min(value, high)


class Box:
    def area(self) -> float:
        """Return the area of the box in square metres."""
        return self.width * self.height


def mean(values):
    \'\'\'Return the arithmetic mean of a list of numbers.

    Raises an error for an empty list.
    \'\'\'
    return sum(values) / len(values)
'''


def source(text: str, lang: str = "en", code: bool = False, id: str = "d1") -> SourceDocument:
    return SourceDocument(id, text, lang, code, "lakes", "CC-BY-4.0")


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that answers the recipes' prompts, after the faults it is told.

    `server.faults` is a list: each request takes its first entry. `server.always` is the fault of
    every request. Faults: a status, `429 7` (with `Retry-After: 7`), `reset`, `truncated` (JSON cut
    short), `cut` (the connection ends within a chunked body), `late` (no answer until
    `server.hurry` is set), `shape`, `chatty`, `refusal`.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append(body)
            server.keys.append(self.headers.get("Authorization", ""))
            fault = server.always or (server.faults.pop(0) if server.faults else "")
            server.served[fault or "ok"] += 1
        if fault == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "late":
            server.hurry.wait(30)
        if fault[:3].isdigit():
            status, _, wait = fault.partition(" ")
            self._send(int(status), ECHO, {"Retry-After": wait} if wait else {})
            return
        answer = {"chatty": "I cannot answer in JSON, sorry."}.get(fault) or reply_to(body)
        message: dict[str, Any] = {"role": "assistant", "content": answer}
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I will not."}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        data = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        if fault == "truncated":
            data = data[: len(data) // 2]
        if fault == "shape":
            data = b'{"result": "ok"}'
        if fault == "cut":
            self._cut(data)
            return
        if not fault:
            with server.progress:
                server.answered[json.dumps(body, sort_keys=True)] += 1
                server.progress.notify_all()
        self._send(200, data, {})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _cut(self, data: bytes) -> None:
        """Begin a chunked body and hang up in the middle of a chunk."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data[: len(data) // 2])
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


ECHO = json.dumps({"error": {"message": "You sent: The Baltic Sea is an inland sea"}}).encode()
"""Servers repeat prompts in their errors; no log may repeat them."""


def reply_to(body: dict[str, Any]) -> str:
    """Answer the recipes' prompts as a good model would, in a code fence as many models do."""
    user = body["messages"][1]["content"]
    if '"grade"' in user:
        bad = "the moon" in user.split("Record:")[-1]
        grade = {"reason": "It is about the moon." if bad else "Right.", "grade": 1 if bad else 4}
        return json.dumps(grade)
    if '"pairs"' in user:
        pairs = [
            {"question": "Why does the Baltic Sea have so little salt?", "answer": WHY},
            {"question": "What does the text say about cod?", "answer": WHY},
        ]
        value: dict[str, Any] = {"pairs": pairs}
    elif '"segments"' in user:
        text = user.split("<<<\n")[1].split("\n>>>")[0]
        parts = text.split("\n\n")
        value = {"segments": [{"start": p[:30], "end": p[-30:]} for p in parts]}
    elif '"thought"' in user:
        value = {"thought": f"One point concerns {user.split('<<<')[1].split()[1]} and its waters."}
    elif '"steps"' in user:
        steps = ["Rivers dilute the sea.", "Inflows are rare.", "So deep basins lack oxygen."]
        value = {
            "steps": steps,
            "conclusion": "The cod suffers whenever inflows stay away for long.",
        }
    else:
        value = {"query": "How do salt and oxygen decide the fate of cod in the Baltic Sea?"}
    return f"Sure!\n```json\n{json.dumps(value)}\n```"


WHY = "Rivers bring in far more fresh water than the narrow straits let salt water through."


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""


class Endpoint:
    """A running `Model` server."""

    def __init__(self) -> None:
        self.server: Any = _Server(("127.0.0.1", 0), Model)
        self.server.lock = threading.Lock()
        self.server.faults, self.server.always = [], ""
        self.server.seen, self.server.keys, self.server.served = [], [], Counter()
        self.server.answered, self.server.hurry = Counter(), threading.Event()
        self.server.progress = threading.Condition()
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if not self.thread.is_alive():
            return
        self.server.hurry.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def teacher(self, **given: Any) -> TeacherConfig:
        options = {"api_key_env": KEY_ENV, "backoff_s": 0.0, "max_tries": 3, "timeout_s": 10}
        fields = {"kind": "openai", "model": "tiny", "base_url": self.url} | options | given
        return TeacherConfig(**fields)
