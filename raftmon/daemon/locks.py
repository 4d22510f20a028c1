"""Who may ask the daemon's server: this machine alone, or who has a token or a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from raftmon.errors import UsageError
from raftmon.listen import Listen, is_loopback, is_secret, refusal
from raftmon.slotted import dataclass

__all__ = ["USUAL", "Locks", "check_locks", "in_the_clear", "tls_context", "why_refused"]

USUAL: Final = "127.0.0.1:9464"


@dataclass(frozen=True, slots=True)
class Locks:
    """What a request needs to be answered."""

    token: str | None = None
    """The secret that comes as `Authorization: Bearer`; None: none is asked for."""
    certificate: Path | None = None
    """The server's own, with those above it, in PEM; None: nothing is encrypted."""
    key: Path | None = None
    """Of `certificate`, without a passphrase; None: it is in the same file."""
    client_ca: Path | None = None
    """Certificates in PEM, one of which must have signed the client's; None: clients need none."""


def check_locks(at: Listen, locks: Locks) -> None:
    """Refuse to be open to other machines without a lock.

    Raises:
        UsageError: whoever reaches the port could read, or a part of what TLS needs is missing.
    """
    where = f"--listen {at.host}:{at.port}"
    if locks.certificate is None and (locks.key is not None or locks.client_ca is not None):
        remedy = "Give the server's certificate, too: client certificates are a part of TLS."
        raise UsageError(where, "TLS without a certificate of the server", remedy)
    if locks.token is None and locks.client_ca is None and not is_loopback(at.host):
        remedy = (
            "Ask for a token (file:PATH or env:NAME), or for client certificates (the server's certificate and a CA of "
            f"the clients'), or listen on {USUAL}."
        )
        raise UsageError(where, "other machines could read the metrics without being asked who they are", remedy)


def in_the_clear(at: Listen, locks: Locks) -> str | None:
    """Return a warning where the token crosses a network that others may listen to; None: it does not."""
    if locks.token is None or locks.certificate is not None or is_loopback(at.host):
        return None
    return (
        f"--listen {at.host}:{at.port}: nothing is encrypted, and whoever listens to the network learns the token; "
        "give the server a certificate (--listen-cert), or put a proxy with TLS before it"
    )


def tls_context(locks: Locks) -> ssl.SSLContext | None:
    """Return what encrypts; None: nothing is to be.

    Raises:
        UsageError: a certificate or key cannot be read.
    """
    if locks.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    place = f"{locks.certificate}" + (f" and {locks.key}" if locks.key is not None else "")
    try:
        # An empty passphrase, because OpenSSL would ask for one on the terminal.
        context.load_cert_chain(locks.certificate, locks.key, password="")
        if locks.client_ca is not None:
            place = str(locks.client_ca)
            context.load_verify_locations(locks.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        remedy = "Name files in PEM that the user of this process can read; the key has no passphrase."
        raise UsageError(place, f"not usable for TLS: {reason}", remedy) from None
    return context


def why_refused(at: Listen, locks: Locks, authorization: str | None, host: str | None) -> tuple[int, str] | None:
    """Return status and reason with which a request is turned away; None: it may pass.

    Args:
        at: where the server listens.
        locks: what it asks for.
        authorization: the header of that name; None: there is none.
        host: the header `Host`; None: there is none.
    """
    if locks.token is not None:
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not is_secret(given.strip(), locks.token):
            return 401, "A token is needed: Authorization: Bearer ..."
    elif locks.client_ca is None and host is not None:
        # A page in a browser of this machine has neither token nor certificate. Who sends no header is no browser.
        reason = refusal(host, None, at.host, loopback=True)
        if reason is not None:
            return 403, reason
    return None
