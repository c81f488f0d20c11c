"""Pictures from http(s) addresses: only from where the server's owner says, and never from inside his network.

Each address, also each one that a redirect leads to, must be on the list of prefixes; its name is looked up once, what
it means must be public, and the connection goes to exactly that.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from accessory.serve.errors import ApiError
from SPHINX_V.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 65_536

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Place(NamedTuple):
    """Where an address leads, or what a prefix allows."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class UrlRules:
    """Which addresses may be fetched. `prefixes` empty: none. `networks` are private ones that may be all the same."""

    prefixes: tuple[Place, ...] = ()
    networks: tuple[Network, ...] = ()
    most_bytes: int = 16 * 2**20
    seconds: float = 10.0  # for all of it, redirects included
    redirects: int = 3

    @staticmethod
    def of(prefixes: Iterable[str], networks: Iterable[str] = ()) -> UrlRules:
        """Rules from texts such as `https://pictures.example/shown/` and `10.1.0.0/16`. Raises ConfigError."""
        places = []
        for prefix in prefixes:
            try:
                place = _place(urlsplit(prefix))
            except ValueError as error:
                raise ConfigError(f"the address prefix {prefix!r}: {error}; give https://HOST/FOLDER/.") from None
            places.append(place)
        try:
            return UrlRules(tuple(places), tuple(ipaddress.ip_network(network) for network in networks))
        except ValueError as error:
            raise ConfigError(f"a private network: {error}; give one like 10.1.0.0/16.") from None

    def check(self, url: str) -> Place:
        """Where `url` leads; raises ApiError where it is on no list."""
        if not self.prefixes:
            raise ApiError(
                "this server fetches no pictures; send the picture itself as a data URI (data:image/png;base64,…).",
                param="messages",
                code="url_not_allowed",
            )
        try:
            place = _place(urlsplit(url))
        except ValueError as error:
            raise ApiError(
                f"the picture's address cannot be used ({error}); send the picture as a data URI.",
                param="messages",
                code="url_not_allowed",
            ) from None
        for allowed in self.prefixes:
            same = place[:3] == allowed[:3]
            if same and (place.path == allowed.path or place.path.startswith(allowed.path.rstrip("/") + "/")):
                return place
        raise ApiError(
            f"pictures from {place.scheme}://{place.host[:80]}:{place.port} under that path are not on this server's"
            " list; send the picture as a data URI.",
            param="messages",
            code="url_not_allowed",
        )

    def resolve(self, place: Place) -> list[str]:
        """The IP addresses that the host's name means. Raises ApiError where any of them is not public."""
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ApiError(
                f"the picture's host {place.host[:80]} is not known; send the picture as a data URI.",
                param="messages",
                code="url_failed",
            ) from None
        addresses = [str(entry[4][0]) for entry in found]
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not (is_public(address) or any(address in network for network in self.networks)):
                raise ApiError(
                    "the picture's address leads into a private network; send the picture as a data URI.",
                    param="messages",
                    code="url_not_allowed",
                )
        return list(dict.fromkeys(addresses))


def is_public(address: Address) -> bool:
    """Can everybody reach it? False for private, loopback, link-local, shared, reserved and multicast ones, also where
    an IPv4 address is wrapped into an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped is None and address.teredo is not None:
            wrapped = address.teredo[1]
        if wrapped is None and address in _NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
    return address.is_global and not address.is_multicast and not address.is_unspecified


def _place(parts: SplitResult) -> Place:
    """Raises ValueError, with a reason, for what is no plain http(s) address."""
    if parts.scheme not in _PORTS:
        raise ValueError(f"its scheme is {parts.scheme[:20]!r}, not http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a user name")
    if not parts.hostname or not parts.hostname.isascii():
        raise ValueError("it names no host in ASCII")
    path = parts.path or "/"
    plain = unquote(path)
    if ".." in plain.split("/") or "\\" in plain or any(c <= " " or c == "\x7f" for c in plain + parts.query):
        raise ValueError("its path leads upwards or holds signs that a path has not")
    return Place(parts.scheme, parts.hostname.lower(), parts.port or _PORTS[parts.scheme], path)


class _Connection(http.client.HTTPConnection):
    """A connection to one of these IP addresses, whatever the host's name means by now."""

    def __init__(self, place: Place, addresses: list[str], seconds: float) -> None:
        super().__init__(place.host, place.port, timeout=seconds)
        self._place, self._addresses = place, addresses
        self._open: socket.socket | None = None  # `sock` is gone as soon as the response has it

    def connect(self) -> None:
        raw = self._reach()
        if self._place.scheme == "https":
            raw = ssl.create_default_context().wrap_socket(raw, server_hostname=self._place.host)
        self.sock = self._open = raw

    def _reach(self) -> socket.socket:
        *others, last = self._addresses
        for address in others:
            with suppress(OSError):
                return socket.create_connection((address, self._place.port), self.timeout)
        return socket.create_connection((last, self._place.port), self.timeout)

    def hang_up(self) -> None:
        """Ends whatever waits for this connection, in another thread."""
        if self._open is not None:
            with suppress(OSError):  # closed meanwhile
                self._open.shutdown(socket.SHUT_RDWR)


def fetch(url: str, rules: UrlRules) -> bytes:
    """The bytes at an address; blocks for at most `rules.seconds`. Raises ApiError with the reason."""
    end = time.monotonic() + rules.seconds
    for _ in range(rules.redirects + 1):
        place = rules.check(url)
        found = _get(url, place, rules.resolve(place), end, rules)
        if isinstance(found, bytes):
            return found
        try:
            url = urljoin(url, found)
        except ValueError:
            raise _failed(f"it leads to {found[:80]!r}, which is no address") from None
    raise _failed(f"it leads on more than {rules.redirects} times")


def _get(url: str, place: Place, addresses: list[str], end: float, rules: UrlRules) -> bytes | str:
    """The bytes there, or the address that a redirect names."""
    left = end - time.monotonic()
    if left <= 0:
        raise _failed(f"it takes longer than {rules.seconds:g} s")
    connection = _Connection(place, addresses, left)
    # The time-out of a socket is for each read: a server that sends a byte now and then would never reach it.
    alarm = threading.Timer(left, connection.hang_up)
    alarm.daemon = True
    alarm.start()
    try:
        parts = urlsplit(url)
        target = place.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status in _REDIRECTS:
            return response.headers.get("Location", "")
        if response.status != 200:
            raise _failed(f"its host answers {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed("it comes compressed, which was not asked for")
        return _read(response, end, rules)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, ApiError):
            raise
        raise _failed(f"{type(error).__name__} while it was fetched") from None
    finally:
        alarm.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse, end: float, rules: UrlRules) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > rules.most_bytes:
            raise _failed(f"it has more than {rules.most_bytes} bytes")
    if time.monotonic() >= end:  # the alarm has ended it
        raise _failed(f"it takes longer than {rules.seconds:g} s")
    if response.length:  # what the header promised and did not come
        raise _failed("it ends early")
    return bytes(data)


def _failed(why: str) -> ApiError:
    return ApiError(
        f"the picture cannot be fetched: {why}; send it as a data URI.", param="messages", code="url_failed"
    )
