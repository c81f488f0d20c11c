"""Who may ask: keys from a file, compared in a time that does not depend on them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from accessory.serve.errors import ApiError
from SPHINX_V.errors import ConfigError, UsageError

_FEWEST_CHARACTERS = 16


class Keys:
    """Keys that clients may show; without any, everybody who reaches the server may ask."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        # Digests all have one length, and comparing them tells nothing about how much of a key was right.
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    @staticmethod
    def from_file(path: str | os.PathLike[str]) -> Keys:
        """One key a line; blank lines and those that begin with # are left out. Raises ConfigError without any key, for
        a key that is short enough to be guessed, and where the file cannot be read."""
        name = os.fspath(path)
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name}: the keys cannot be read ({error}); give a text file, one key a line.") from None
        keys = []
        for number, line in enumerate(lines, start=1):
            key = line.strip()
            if not key or key.startswith("#"):
                continue
            if len(key) < _FEWEST_CHARACTERS or len(key.split()) > 1:
                raise ConfigError(
                    f"{name}, line {number}: a key of {len(key)} characters; give at least {_FEWEST_CHARACTERS}, and no"
                    " spaces, such as the output of: openssl rand -hex 32."
                )
            keys.append(key)
        if not keys:
            raise ConfigError(f"{name}: holds no key; write one a line, or leave out --api_key_file.")
        return Keys(keys)

    def check(self, authorization: bytes | None) -> None:
        """Raises ApiError (401) where the header `Authorization: Bearer KEY` is missing or has none of the keys."""
        if not self._digests:
            return
        scheme, _, shown = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not shown.strip():
            raise ApiError(
                "no key was sent; this server wants the header Authorization: Bearer KEY.",
                401,
                code="missing_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        digest, found = _digest(shown.strip()), False
        for known in self._digests:  # all of them: when the search ends says nothing
            found |= hmac.compare_digest(known, digest)
        if not found:
            raise ApiError(
                "the key is not one of this server's; ask who runs it.",
                401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def is_loopback(host: str) -> bool:
    """Is a server that listens there reached from this machine only?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def in_address(host: str) -> str:
    """The host as an address has it: one of IPv6 in brackets."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def check_host(host: str, keys: Keys, open_to_all: bool = False) -> None:
    """Raises UsageError for a server without keys that other machines reach."""
    if not keys and not open_to_all and not is_loopback(host):
        raise UsageError(
            f"--host {host} is reached from other machines, and there are no keys: everybody could ask. Give"
            " --api_key_file FILE, or --open_to_all where something in front of the server asks for keys."
        )


def is_local_name(host: bytes | None) -> bool:
    """Does a Host header name this machine? A page on the web can make its own name lead here, and a browser then
    sends that name; what an address in digits means, nobody can change."""
    name = (host or b"").decode("latin-1")
    return is_loopback(name.partition("]")[0] if name.startswith("[") else name.partition(":")[0])
