"""The server to measure against: the standard library's, one question at a time, over the same model and engine.

`python -m benchmarks._plain_server CHECKPOINT`, which benchmarks.serving starts.
It is what a server is before it has a queue: a lock around the answer. Whoever comes waits, and nobody is refused.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from accessory.serve.asking import requests_of
from accessory.serve.errors import ApiError, as_api_error, to_json
from accessory.serve.messages import read_messages
from accessory.serve.schema import ChatRequest, read_request
from SPHINX_V.errors import SphinxVError
from SPHINX_V.generation.job import AnswerStream
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.sphinx_v import SPHINX_V_Model

_MOST_CHARACTERS = 65_536
_SECONDS = 600.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def make_plain_server(model: SPHINX_V_Model) -> ThreadingHTTPServer:
    """A server on a free port of loopback that streams answers as `accessory.serve` does."""
    one_at_a_time = threading.Lock()
    slots = model.config.prompts.num_slots

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                asked = read_request(_parsed(body))
                conversation = read_messages(asked, _MOST_CHARACTERS)
                (request,) = requests_of(asked, conversation, None, slots, _SECONDS)
                with one_at_a_time:
                    self._answer(asked, model.engine.submit(request))
            except SphinxVError as error:
                found = as_api_error(error)
                self._begin(found.status, "application/json")
                self.wfile.write(to_json(found.body()))
            except OSError:  # the client hung up
                return

        def _answer(self, asked: ChatRequest, stream: AnswerStream) -> None:
            self._begin(200, "text/event-stream")
            try:
                for piece in stream:
                    self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
                usage = {"completion_tokens": len(stream.answer().ids)}
                self._event({"choices": [], "usage": usage})
                self.wfile.write(b"data: [DONE]\n\n")
            finally:
                stream.cancel()

        def _begin(self, status: int, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()

        def _event(self, value: Any) -> None:
            self.wfile.write(b"data: %s\n\n" % to_json(value))

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return _Server(("127.0.0.1", 0), Handler)


def _parsed(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise ApiError("the body is no object.")
    return value


def main() -> None:
    """Serves until a signal; the first line says where."""
    model = SPHINX_V_Model.from_pretrained(sys.argv[1], device="cpu")
    model.make_engine(EngineOptions(max_rows=1))
    server = make_plain_server(model)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"serving at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
