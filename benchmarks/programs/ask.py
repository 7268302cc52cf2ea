"""Ask a chat endpoint the same things: `ask.py CLIENT PORT REQUESTS CONCURRENCY`.

CLIENT: openseek, bare, openai, curator or nemo. The last line of stdout tells the seconds from the
first request to the last answer (imports and clients are made before), the CPU seconds of that, the
answers that hold the wanted text, and the growth of the resident memory over the second half.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

WORDS = "The river bends where its banks give way, and the bend moves on with every flood. " * 20
WANTED = "Banks erode unevenly."


def texts(n: int) -> list[str]:
    """Return distinct documents of 1,700 characters."""
    return [f"{i}. {WORDS}" for i in range(n)]


class Watch:
    """Seconds, CPU seconds and memory of some work; `half` is called in its middle."""

    def __init__(self) -> None:
        self.process = psutil.Process()

    def start(self) -> None:
        """Begin."""
        self.cpu = sum(self.process.cpu_times()[:2])
        self.at = time.perf_counter()

    def half(self) -> None:
        """Note the memory in the middle."""
        self.resident = self.process.memory_info().rss

    def end(self, good: int) -> dict[str, Any]:
        """Return what it took."""
        seconds = time.perf_counter() - self.at
        grown = self.process.memory_info().rss - getattr(self, "resident", 0)
        cpu = sum(self.process.cpu_times()[:2]) - self.cpu
        return {
            "seconds": round(seconds, 3), "client_cpu_s": round(cpu, 3), "good": good,
            "grown_bytes": grown if hasattr(self, "resident") else None,
        }  # fmt: skip


def openseek(url: str, n: int, concurrency: int, watch: Watch) -> dict[str, Any]:
    """Ask for simple QA as the step does: prompts, request cache on disk, answers parsed."""
    from openseek.config.teachers import TeacherConfig
    from openseek.synthesis.recipes import simple_qa
    from openseek.synthesis.rows import SourceDocument
    from openseek.synthesis.session import Session
    from openseek.synthesis.teacher import Asker

    teacher = TeacherConfig(kind="openai", model="tiny", base_url=url, concurrency=concurrency)
    made = texts(n)
    pieces = [range(at, min(at + 64, n)) for at in range(0, n, 64)]

    def answer(piece: range) -> int:
        documents = [SourceDocument(str(i), made[i], "en", False, "s", "x") for i in piece]
        prompts = [simple_qa.prompt(d, 2) for d in documents]

        async def ask() -> list[simple_qa.Pairs]:
            asker = Asker(session.teacher)
            asked = (asker.ask(p, simple_qa.Pairs) for p in prompts)
            return await asyncio.gather(*asked)

        found = session.run(ask())
        if piece.start <= n // 2 < piece.stop:
            watch.half()
        return sum(f.pairs[0].answer == WANTED for f in found)

    with tempfile.TemporaryDirectory() as cache, Session(teacher, cache) as session:
        watch.start()
        good = session.map(answer, pieces, progress=lambda *_, **__: None, unit="", documents=64)
        return watch.end(sum(good))


def messages(text: str) -> list[dict[str, str]]:
    """Word the same request for the others."""
    ask = 'Write question-answer pairs. Shape: {"pairs": [{"question": "", "answer": ""}]}'
    return [{"role": "system", "content": ask}, {"role": "user", "content": text}]


def openai(url: str, n: int, concurrency: int, watch: Watch) -> dict[str, Any]:
    """Use the openai client under a semaphore."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none")

    async def send(text: str) -> str:
        reply = await client.chat.completions.create(
            model="tiny", messages=messages(text), temperature=0.7, max_tokens=2048
        )
        return reply.choices[0].message.content or ""

    return asyncio.run(_gathered(send, n, concurrency, watch))


class Line(asyncio.Protocol):
    """One connection of the bare client: a request, its whole answer, the next request."""

    def __init__(self, waiting: list[bytes], answers: list[bytes], done: asyncio.Future[None]):
        self.waiting, self.answers, self.done = waiting, answers, done
        self.wanted = len(answers) + len(waiting)
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send the next request, if there is one."""
        if self.waiting:
            self.transport.write(self.waiting.pop())  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up where the server does before all is answered."""
        if not self.done.done() and len(self.answers) < self.wanted:
            self.done.set_exception(exc or ConnectionError("the server closed a connection"))

    def data_received(self, data: bytes) -> None:
        """Keep an answer when it is whole."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if found and len(body) == int(
            head.lower().rpartition(b"content-length:")[2].split(b"\r\n")[0]
        ):
            self.answers.append(body)
            self.buffer = b""
            self.send()
            if len(self.answers) == self.wanted and not self.done.done():
                self.done.set_result(None)


def bare(url: str, n: int, concurrency: int, watch: Watch) -> dict[str, Any]:
    """Send prepared bytes over sockets and read nothing but lengths: what no client can beat."""
    host, port = url.split("//")[1].split("/")[0].split(":")
    waiting = []
    for text in texts(n):
        body = json.dumps({"model": "tiny", "messages": messages(text)}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
        waiting.append(f"{head}\r\n\r\n".encode() + body)

    async def all_lines() -> list[bytes]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        answers: list[bytes] = []
        lines = [Line(waiting, answers, done) for _ in range(concurrency)]
        watch.start()
        for line in lines:
            await loop.create_connection(lambda line=line: line, host, int(port))  # type: ignore[misc]
        await done
        return answers

    return watch.end(sum(WANTED in answer.decode() for answer in asyncio.run(all_lines())))


def nemo(url: str, n: int, concurrency: int, watch: Watch) -> dict[str, Any]:
    """Use NeMo Curator's client, which has a semaphore of its own."""
    from nemo_curator.models.client.llm_client import GenerationConfig
    from nemo_curator.models.client.openai_client import AsyncOpenAIClient

    client = AsyncOpenAIClient(
        max_concurrent_requests=concurrency, base_url=url, api_key="none", timeout=120
    )
    client.setup()
    wanted = GenerationConfig(temperature=0.7, max_tokens=2048)

    async def send(text: str) -> str:
        found = await client.query_model(
            messages=messages(text), model="tiny", generation_config=wanted
        )
        return str(found[0])

    return asyncio.run(_gathered(send, n, concurrency, watch))


async def _gathered(
    send: Callable[[str], Any], n: int, concurrency: int, watch: Watch
) -> dict[str, Any]:
    gate, good = asyncio.Semaphore(concurrency), 0

    async def one(i: int, text: str) -> None:
        nonlocal good
        async with gate:
            found = json.loads(await send(text))
        good += found["pairs"][0]["answer"] == WANTED
        if i == n // 2:
            watch.half()

    watch.start()
    await asyncio.gather(*(one(i, text) for i, text in enumerate(texts(n))))
    return watch.end(good)


def curator(url: str, n: int, concurrency: int, watch: Watch) -> dict[str, Any]:
    """Use bespoke curator's LLM on a list of rows; it keeps its answers on disk, as ours does."""
    home = tempfile.mkdtemp()
    os.environ |= {"CURATOR_CACHE_DIR": home, "TELEMETRY_ENABLED": "0", "CURATOR_VIEWER": "0"}
    from bespokelabs import curator as library

    class Pairs(library.LLM):
        """The prompt and what becomes of an answer."""

        def prompt(self, row: dict[str, str]) -> list[dict[str, str]]:
            """Word the request."""
            return messages(row["text"])

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            """Read the answer."""
            return {"answer": json.loads(response)["pairs"][0]["answer"]}

    limits = {
        "base_url": url, "api_key": "none", "max_concurrent_requests": concurrency,
        "max_requests_per_minute": 10**7, "max_tokens_per_minute": 10**10,
    }  # fmt: skip
    model = Pairs(
        model_name="tiny", backend="openai", backend_params=limits,
        generation_params={"temperature": 0.7, "max_tokens": 2048},
    )  # fmt: skip
    watch.start()
    made = model([{"text": text} for text in texts(n)])
    rows = getattr(made, "dataset", made)
    return watch.end(sum(row["answer"] == WANTED for row in rows))


if __name__ == "__main__":
    who, port, requests, at_once = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    run = {"openseek": openseek, "bare": bare, "openai": openai, "curator": curator, "nemo": nemo}[
        who
    ]
    found = run(f"http://127.0.0.1:{port}/v1", int(requests), int(at_once), Watch())
    print(json.dumps(found))
