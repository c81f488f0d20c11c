"""uvicorn around the service: it starts, and it ends without cutting anybody off in the middle of a word."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accessory.serve.app import create_app
from accessory.serve.options import ServeOptions
from accessory.serve.protocol import protocol_class
from accessory.serve.service import Service
from SPHINX_V.errors import UsageError
from SPHINX_V.sphinx_v import SPHINX_V_Model

_log = logging.getLogger("uvicorn.error")
_TICK = 0.05
_LAST_WORDS = 5  # seconds in which those that were cancelled are told so


def check_packages() -> None:
    """Raises UsageError without the packages that serving needs."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f'the server needs {error.name}, which is missing: pip install -e ".[serve]"') from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError where the address is taken or is none of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host.strip("[]") == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {host} port {port} ({error}); choose another --port, or end what has it."
        ) from None


def make_server(model: SPHINX_V_Model, options: ServeOptions, log_level: str = "info") -> Any:
    """A uvicorn server for a model whose engine has been started. `run(sockets=[…])` returns after SIGINT or SIGTERM,
    or once `should_exit` is set; `failed` then says whether the engine had broken down. Raises UsageError without the
    packages."""
    check_packages()
    import uvicorn

    service = Service(model, options)
    app = create_app(service)
    limits = options.limits
    protocol = protocol_class(limits)

    class Server(uvicorn.Server):
        """First it takes no more questions, and says so; then it lets running answers end; then it stops to listen."""

        failed = False

        def handle_exit(self, sig: int, frame: Any) -> None:
            service.closing = True
            super().handle_exit(sig, frame)

        async def on_tick(self, counter: int) -> bool:
            if service.bridge.stopped.is_set() and not service.closing:
                _log.error("the engine's thread has ended; the server ends, too, so that it can be started anew")
                self.failed = True
                return True
            return bool(await super().on_tick(counter))

        async def shutdown(self, sockets: Any = None) -> None:
            service.closing = True
            loop = asyncio.get_running_loop()
            for seconds in (options.drain_seconds, _LAST_WORDS):
                end = loop.time() + seconds
                while service.busy and loop.time() < end and not self.force_exit:
                    await asyncio.sleep(_TICK)
                service.bridge.cancel_all()
            await super().shutdown(sockets)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """As uvicorn's, but an end that was asked for is no failure: the signal is not raised again."""
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        interface="asgi3",
        log_level=log_level,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=_LAST_WORDS,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    return Server(config)
