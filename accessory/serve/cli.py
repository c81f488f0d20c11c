"""The command line of the server: checks what can be checked, loads the model once, serves until it is told to end."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accessory.serve.keys import Keys, check_host, in_address
from accessory.serve.options import Limits, ServeOptions
from accessory.serve.server import check_packages, listen, make_server
from accessory.serve.urls import UrlRules
from SPHINX_V.errors import ConfigError, SphinxVError
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.inference import add_model_flags, load_by_flags
from SPHINX_V.parallel import check_world, rank


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds a default to a help that does not tell of it, where it is a word or a number and not derived from others."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = isinstance(action.default, (str, int, float)) and not isinstance(action.default, bool)
        if not plain or "(default: " in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accessory.serve",
        description="Serves a model behind an OpenAI-compatible address (/v1/chat/completions).",
        formatter_class=_Help,
    )
    default, limits, engine = ServeOptions(), Limits(), EngineOptions()
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="a released folder or one of ours")
    parser.add_argument("--host", default=default.host, help="address to listen on; others than loopback need keys")
    parser.add_argument("--port", type=int, default=default.port, help="0: any that is free")
    parser.add_argument("--model_name", default=default.model_name, help="what clients call the model")
    parser.add_argument("--api_key_file", metavar="FILE", help="clients' keys, one a line (default: no keys)")
    parser.add_argument("--open_to_all", action="store_true", help="listen beyond loopback without keys")
    add_model_flags(parser)
    parser.add_argument("--max_rows", type=int, default=engine.max_rows, help="answers computed at a time")
    parser.add_argument("--max_len", type=int, help="longest conversation in tokens (default: the model's context)")
    parser.add_argument(
        "--max_waiting", type=int, default=engine.max_waiting, help="questions that may wait beside them"
    )
    parser.add_argument(
        "--prefix_bytes",
        type=int,
        default=engine.prefix_bytes,
        help="memory for kept prompts (default: 512 MiB on a CPU, an eighth of what the engine may take of a GPU)",
    )
    parser.add_argument("--picture_bytes", type=int, default=engine.picture_bytes, help="memory for encoded pictures")
    parser.add_argument(
        "--allow_url",
        action="append",
        default=[],
        metavar="PREFIX",
        help="pictures may be fetched from here, such as https://pictures.example/shown/; may be repeated (default:"
        " from nowhere)",
    )
    parser.add_argument("--allow_url_file", metavar="FILE", help="more of them, one a line (default: no more)")
    parser.add_argument(
        "--allow_private_network",
        action="append",
        default=[],
        metavar="CIDR",
        help="a network that is not public and may be fetched from all the same, such as 10.1.0.0/16 (default: none)",
    )
    parser.add_argument("--max_body_bytes", type=int, default=limits.body_bytes, help="largest question")
    parser.add_argument("--body_seconds", type=float, default=limits.body_seconds, help="in which it must arrive")
    parser.add_argument(
        "--answer_seconds", type=float, default=limits.answer_seconds, help="longest answer, with waiting"
    )
    parser.add_argument("--connections", type=int, default=limits.connections, help="open ones at a time")
    parser.add_argument("--drain_seconds", type=float, default=default.drain_seconds, help="for answers at the end")
    parser.add_argument("--workers", type=int, default=default.workers, help="threads that prepare pictures")
    parser.add_argument(
        "--log_level", default="info", choices=("critical", "error", "warning", "info", "debug"), help="what is logged"
    )
    return parser


def serve_options(options: argparse.Namespace) -> ServeOptions:
    """The server's options from the command line. Raises ConfigError and UsageError."""
    for name in ("max_body_bytes", "body_seconds", "answer_seconds", "connections", "workers"):
        if not getattr(options, name) > 0:
            raise ConfigError(f"--{name} is {getattr(options, name)}; give a number above 0.")
    if not options.drain_seconds >= 0:
        raise ConfigError(f"--drain_seconds is {options.drain_seconds}; give 0 or more.")
    if not 0 <= options.port < 65536:
        raise ConfigError(f"--port is {options.port}; give a number from 0 to 65535.")
    keys = Keys.from_file(options.api_key_file) if options.api_key_file else Keys()
    check_host(options.host, keys, options.open_to_all)
    prefixes = [*options.allow_url, *(_lines(options.allow_url_file) if options.allow_url_file else ())]
    limits = replace(
        Limits(),
        body_bytes=options.max_body_bytes,
        body_seconds=options.body_seconds,
        answer_seconds=options.answer_seconds,
        connections=options.connections,
    )
    return ServeOptions(
        host=options.host,
        port=options.port,
        model_name=options.model_name,
        keys=keys,
        urls=UrlRules.of(prefixes, options.allow_private_network),
        limits=limits,
        drain_seconds=options.drain_seconds,
        workers=options.workers,
    )


def _lines(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a text file, one address a line.") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def serve(options: argparse.Namespace) -> int:
    """Serves until a signal. Raises errors of our family before anything is served."""
    check_packages()
    check_world(options.tensor_parallel)
    served = serve_options(options)
    limits = EngineOptions(
        max_rows=options.max_rows,
        max_len=options.max_len,
        max_waiting=options.max_waiting,
        prefix_bytes=options.prefix_bytes,
        picture_bytes=options.picture_bytes,
    )
    first = rank() == 0
    sock = listen(served.host, served.port) if first else None  # before minutes are spent on loading
    model = load_by_flags(options)
    engine = model.make_engine(limits)
    if sock is None:
        # torchrun sends a signal to all processes at once. The first one lets answers end, for which it needs this one,
        # and tells it when to go; where it is gone itself, `follow` says so.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        engine.follow()
        return 0
    server = make_server(model, served, options.log_level)
    engine.start()
    try:
        address = f"http://{in_address(served.host)}:{sock.getsockname()[1]}/v1"
        print(f"serving {options.checkpoint} at {address}", flush=True)
        server.run(sockets=[sock])
    finally:
        engine.stop()
    return 1 if server.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 after a breakdown, 2 with one line on standard error for what can be mended."""
    try:
        return serve(build_parser().parse_args(argv))
    except SphinxVError as error:
        print(f"{f'rank {rank()}: ' if rank() else ''}error: {error}", file=sys.stderr)
        return 2
