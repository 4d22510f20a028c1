"""Where a server listens, and who may come in: what the headers of a request say about the page that made it.

A server on the loopback interface is within reach of every page that the same person's browser shows. Two tricks
have to fail: a page elsewhere opens a WebSocket here (browsers let it, and name the page in `Origin`), and a page
elsewhere has its own host name resolved to this machine (then `Host` is that name). A secret in the request is a third
lock, and the only one against other users of this machine, who may send any header.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from typing import Final
from urllib.parse import urlsplit

from raftmon.errors import UsageError
from raftmon.slotted import dataclass

__all__ = ["Listen", "bound_socket", "is_loopback", "is_secret", "refusal"]

_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]+")
"""Names and addresses with a port, and nothing that means something elsewhere."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens."""

    host: str
    """Name or address, without brackets."""
    port: int
    """0: any that is free."""

    @classmethod
    def of(cls, text: str, usual: str = "127.0.0.1:8765") -> Listen:
        """Return what `HOST:PORT` means; an IPv6 address is in brackets.

        Args:
            text: what a person wrote.
            usual: an example, for the error.

        Raises:
            UsageError: it is not of this form.
        """
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        digits = port.isascii() and port.isdigit() and len(port) <= 5
        if not colon or not bare or not digits or int(port) > 65535 or (":" in bare) != (bare != host):
            remedy = f"For example {usual}, or [::1]:{usual.rpartition(':')[2]}; port 0 is any free one."
            raise UsageError(f"--listen {text}", "not HOST:PORT", remedy)
        return cls(bare, int(port))


def bound_socket(at: Listen) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    Raises:
        UsageError: the address is none that there is.
        OSError: it cannot be had now.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host name"
        remedy = "Name an address of this machine."
        raise UsageError(f"--listen {at.host}:{at.port}", str(reason), remedy) from None
    listener = socket.socket(family, kind, protocol)
    try:
        # The port of a server that has just ended is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without brackets, can only mean the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Browsers resolve these themselves, never through DNS (RFC 6761, 6.3).
        return host.lower().rstrip(".") == "localhost"


def is_secret(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def refusal(host: str | None, origin: str | None, served: str, loopback: bool) -> str | None:
    """Return why a request is turned away; None: it may pass.

    Args:
        host: its header `Host`; None: there is none.
        origin: its header `Origin`, which browsers send with every WebSocket; None: there is none.
        served: the host that the server was told to listen on, without brackets.
        loopback: whether it listens on the loopback interface alone.
    """
    name = _name(host) if host else None
    if host is None or name is None:
        return "The header Host is missing or is none."
    if loopback and not is_loopback(name) and name != served.lower():
        return f"This server is called localhost or {served}, not {name}."
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return f"A page of {origin} may not use this server."
    return None


def _name(host: str) -> str | None:
    if not _HOST.fullmatch(host):
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
