"""A chat endpoint that answers everything after a fixed time: `synthesis_server.py SECONDS PORT`.

Written on asyncio's protocols, so that it takes a small part of what any client takes: the clients
are measured, not it. `GET /` gives the requests it has answered and the most at the same time.
"""

from __future__ import annotations

import asyncio
import json
import sys

ANSWER = json.dumps(
    {"pairs": [{"question": "Why do rivers meander?", "answer": "Banks erode unevenly."}]}
)


def completion() -> bytes:
    """Lay out the one answer as an HTTP response."""
    usage = {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return response(json.dumps(body | {"choices": [choice], "usage": usage}).encode())


def response(body: bytes) -> bytes:
    """Put a header before a JSON body."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


class Chat(asyncio.Protocol):
    """One connection: requests come one after the other."""

    delay_s = 0.05
    reply = completion()
    answered = 0
    waiting = 0
    most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with an empty buffer."""
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request after the delay."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if head.startswith(b"get"):
                told = {"answered": Chat.answered, "most": Chat.most}
                self.send(response(json.dumps(told).encode()))
                continue
            Chat.waiting += 1
            Chat.most = max(Chat.most, Chat.waiting)
            asyncio.get_running_loop().call_later(self.delay_s, self.answer)

    def answer(self) -> None:
        """Send the answer."""
        Chat.waiting -= 1
        Chat.answered += 1
        self.send(self.reply)

    def send(self, data: bytes) -> None:
        """Write, unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(data)  # type: ignore[attr-defined]


async def serve(delay_s: float, port: int) -> None:
    """Listen until the process is ended; prints the port when it is ready."""
    Chat.delay_s = delay_s
    server = await asyncio.get_running_loop().create_server(Chat, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
