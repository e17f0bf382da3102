"""A department's inbox for the demo: a real HTTP server on loopback that takes CloudEvents and keeps them in a file."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LARGEST = 1 << 20


class Inbox:
    """Takes POSTed JSON on a free loopback port; `received` are the messages, newest last, each with its arrival."""

    def __init__(self, file: Path) -> None:
        """Open the inbox; every message is appended to `file` as a line of JSON before it is answered with 202."""
        self.file = file
        self.received: list[dict[str, Any]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.take(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's names
                """Say nothing: the file is the record."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="inbox", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/whistles"

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request: 202 when the message is kept, 4xx with a reason when it is none."""
        try:
            length = int(request.headers.get("content-length", "-1"))
        except ValueError:
            length = -1
        if not 0 <= length <= _LARGEST:
            self._answer(request, 413, "give a content-length of at most 1 MiB")
            return
        try:
            message = json.loads(request.rfile.read(length))
        except (ValueError, OSError) as error:
            self._answer(request, 400, f"not JSON: {error}")
            return
        key = request.headers.get("ce-id") or (message.get("id", "") if isinstance(message, dict) else "")
        record = {"received_ms": time.time_ns() // 1_000_000, "key": key, "message": message}
        with self._lock:
            with self.file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(record, ensure_ascii=False) + "\n")
            self.received.append(record)
        self._answer(request, 202, "kept")

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, text: str) -> None:
        body = json.dumps({"detail": text}).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            request.close_connection = True  # the caller died while it waited; what it sent is kept or refused above
