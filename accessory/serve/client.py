"""Asks a server from the command line, with nothing but the standard library and our marks.

python -m accessory.serve.client --url http://127.0.0.1:8000/v1 --image FILE --box 49,139,196,182 --question "…"
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from SPHINX_V.errors import DataError, SphinxVError, UsageError
from SPHINX_V.mark_flags import add_mark_flags, default_question, with_signs
from SPHINX_V.prompts import Prompt, is_point

_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
_TIMEOUT = 600.0
_DONE = b"[DONE]"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accessory.serve.client",
        description="Ask a server about marked places of a picture. Marks are numbered in the order they are given.",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="the server's address (default: %(default)s)")
    parser.add_argument("--api_key_file", metavar="FILE", help="its first line is the key; else $SPHINX_V_API_KEY")
    parser.add_argument("--image", metavar="FILE", help="PNG, JPEG or WebP; without it the question is text only")
    add_mark_flags(parser)
    parser.add_argument(
        "--question", help="names marks as <Region n> (boxes) or <Mark n> (points); default: their labels"
    )
    parser.add_argument("--temperature", type=float, help="0 is greedy (default: the server's)")
    parser.add_argument("--top_p", type=float, help="sample among the likeliest tokens of this probability")
    parser.add_argument("--seed", type=int, help="of sampling (default: the server's)")
    parser.add_argument("--max_gen_len", type=int, help="longest answer in tokens (default: the server's)")
    parser.add_argument("--stream", action="store_true", help="show the answer as it comes")
    parser.add_argument("--json", action="store_true", help="print what the server says as it is")
    return parser


def question_of(options: argparse.Namespace) -> dict[str, Any]:
    """The body of the request. Raises UsageError and DataError."""
    text = options.question if options.question is not None else default_question(options.prompts)
    if options.prompts and not options.image:
        raise UsageError(f"{len(options.prompts)} marks are given without a picture to mark; give --image.")
    parts: list[dict[str, Any]] = []
    if options.image:
        parts.append({"type": "image_url", "image_url": {"url": _data_uri(options.image)}})
    parts += [{"type": "visual_prompt", "visual_prompt": _mark(prompt)} for prompt in options.prompts]
    parts.append({"type": "text", "text": text})
    fields = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "seed": options.seed,
        "max_tokens": options.max_gen_len,
        "stream": options.stream or None,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return {"messages": [{"role": "user", "content": parts}], **given}


def _data_uri(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); give a picture file.") from None
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise DataError(f"{path}: not a PNG, JPEG or WebP picture; convert it first.")
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _mark(prompt: Prompt) -> dict[str, Any]:
    x0, y0, x1, y1 = prompt.bounds()
    return {"kind": "point", "coords": [x0, y0]} if is_point(prompt) else {"kind": "box", "coords": [x0, y0, x1, y1]}


def _key(options: argparse.Namespace) -> str | None:
    if not options.api_key_file:
        key = os.environ.get("SPHINX_V_API_KEY", "").strip()
        if not key.isascii() or len(key.split()) > 1:
            raise UsageError("$SPHINX_V_API_KEY holds spaces or signs that no key has; give the key alone.")
        return key or None
    try:
        lines = Path(options.api_key_file).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{options.api_key_file}: the key cannot be read ({error}); give a text file.") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{options.api_key_file}: holds no key; write it on a line of its own.")
    return keys[0]


def ask(url: str, body: dict[str, Any], key: str | None = None) -> Iterator[dict[str, Any]]:
    """What the server says: one completion, or the chunks of a stream. Raises UsageError with the server's sentence, or
    why it cannot be reached."""
    connection, path = _connection(url)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise UsageError(f"{response.status} from {url}: {_sentence(response.read())}")
            if response.headers.get_content_type() != "text/event-stream":
                yield _said(response.read(), url)
                return
            for line in response:
                if line.startswith(b"data:"):
                    event = line.removeprefix(b"data:").strip()
                    if event == _DONE:
                        return
                    yield _said(event, url)
            raise UsageError(f"{url}: the answer ended early; ask again.")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"{url} does not answer ({error}); is a server running there?") from None


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and the path of questions there. Raises UsageError for what is no address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port or an IPv6 address that is none
        parts, host, port = None, None, None
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"--url is {url!r}; give an address like http://127.0.0.1:8000/v1.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=_TIMEOUT), f"{parts.path.rstrip('/')}/chat/completions"


def _said(data: bytes, url: str) -> dict[str, Any]:
    """One object that the server says. Raises UsageError for an error, and for what no such server says."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if isinstance(found, dict) and "error" in found:
        raise UsageError(f"{url}: {_sentence(data)}")
    if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
        raise UsageError(f"{url} says {data[:60]!r}, which is no answer; give the address of a server, such as …/v1.")
    return found


def _sentence(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return data[:300].decode("utf-8", "replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on standard error."""
    try:
        options = build_parser().parse_args(with_signs(sys.argv[1:] if argv is None else argv))
        for said in ask(options.url, question_of(options), _key(options)):
            if options.json:
                print(json.dumps(said, ensure_ascii=False), flush=True)
                continue
            for sentence in said.get("warnings", ()):
                print(f"warning: {sentence}", file=sys.stderr, flush=True)
            for choice in said["choices"]:
                text = choice["delta"].get("content", "") if options.stream else choice["message"]["content"]
                print(text, end="", flush=True)
        if not options.json:
            print()
    except SphinxVError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
