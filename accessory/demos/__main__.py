"""Starts the web demo: loads the model once and serves the page until it is stopped."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accessory.serve.keys import in_address, is_loopback
from SPHINX_V.errors import SphinxVError, UsageError
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.inference import add_model_flags, load_by_flags
from SPHINX_V.parallel import check_world, end_process, rank
from SPHINX_V.sphinx_v import SPHINX_V_Model

if TYPE_CHECKING:
    from accessory.demos.app import Shown

MOST_WAITING = 128  # questions of all pages together


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accessory.demos", description="A web page on which one draws on a picture and asks about it."
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="a released folder or one of ours"
    )
    parser.add_argument(
        "--sam", metavar="PATH", help="a SAM checkpoint, so that marks show what they mean (default: none)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: %(default)s, this computer alone)"
    )
    parser.add_argument("--port", type=int, default=7860, help="0: any that is free (default: %(default)s)")
    add_model_flags(parser)
    return parser


def serve(options: argparse.Namespace) -> None:
    """Runs until SIGINT or SIGTERM. Raises errors of our family for what the user can mend."""
    from accessory.demos.app import build, gradio, launch
    from accessory.demos.session import Sessions

    check_world(options.tensor_parallel)
    if not options.checkpoint.exists():
        raise UsageError(
            f"there is no checkpoint {options.checkpoint}; `bash scripts/quickstart.sh` makes a small one."
        )
    segmenter = None
    if rank() == 0:
        # Before Gradio is imported, which asks the network about its own version otherwise.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        gradio()
        options.port = free_port(options.host, options.port)
        segmenter = _segmenter(options)
    model = load_by_flags(options)
    engine = model.make_engine(EngineOptions(max_waiting=MOST_WAITING))
    if rank():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the first process ends them all, after its last round
        engine.follow()
        return
    sessions = Sessions()
    engine.start()
    page = build(engine, _shown(options, model, segmenter is not None), sessions, segmenter)
    try:
        launch(page, options.host, options.port)
        print(f"SPHINX-V is at http://{in_address(options.host)}:{options.port}/ (Ctrl+C ends it)", flush=True)
        if not is_loopback(options.host):
            print("Everybody who reaches this computer over the network can use it.", flush=True)
        _wait()
    finally:
        sessions.close_all()
        page.close(verbose=False)
        engine.stop()


def _shown(options: argparse.Namespace, model: SPHINX_V_Model, sam: bool) -> Shown:
    from accessory.demos.app import Shown

    folder = options.checkpoint.resolve()
    precision = options.quantize or str(model.model.start_img.dtype).removeprefix("torch.")
    parts = f" × {options.tensor_parallel}" if options.tensor_parallel > 1 else ""
    return Shown(
        model=f"{folder.parent.name}/{folder.name}",
        device=f"{model.device.type}{parts}, {precision}",
        slots=model.config.prompts.num_slots,
        sam=sam,
    )


def free_port(host: str, port: int) -> int:
    """The port, or one that is free where it is 0. Raises UsageError where it cannot be used: now, and not when minutes
    have been spent on loading the model."""
    if not 0 <= port < 65536:
        raise UsageError(f"--port is {port}; give a number from 0 to 65535.")
    for name in (host.strip("[]"), "127.0.0.1"):  # Gradio wants it to be free there, too
        try:
            family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
                port = trial.getsockname()[1]
        except OSError as error:
            raise UsageError(f"port {port} of {name} cannot be used ({error}); give another with --port.") from None
    return port


def _segmenter(options: argparse.Namespace) -> Any:
    if options.sam is None:
        return None
    from accessory.demos.segmenter import load_segmenter

    return load_segmenter(options.sam, options.device)


def _wait() -> None:
    """Until somebody wants the process to end."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on standard error for what the user can mend."""
    try:
        serve(build_parser().parse_args(argv))
    except SphinxVError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_process(main())
