"""The one place that knows apprise: a URL becomes a service that a message is sent to.

What apprise and urllib3 log is not passed on, since their lines hold URLs and payloads; all that is read of it is why
a message was not accepted, as a status code.
"""

from __future__ import annotations

import http
import importlib
import logging
import re
import threading
import warnings
from typing import Any, Final

from raftmon.daemon.delivery import Undelivered
from raftmon.errors import MissingExtra
from raftmon.model import Severity

__all__ = ["Service", "open_service", "scheme_of"]

_MAX_BODY: Final = 4_000
"""Characters of a message, where the service does not take less: nobody reads more in a chat."""
_LEAST_BODY: Final = 20
_TITLE_ROOM: Final = 130
_STATUS: Final = re.compile(r"error=(\d{3})\b")
_SILENT: Final = ("urllib3", "requests", "paho", "slixmpp")
"""Loggers of what apprise's services use."""
_GENERIC: Final = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"})
"""Schemes behind which a host stands: that of others is often a token."""
_TOKEN: Final = re.compile(r"(?=[\w.~%+-]*\d)(?=[\w.~%+-]*[A-Za-z])[\w.~%+-]{16,}")
_SECRET_WORDS: Final = re.compile(r"[?&]([-+:]|%2B|%3A|[^=&]*(token|key|secret|pass|auth|sig)[^=&]*=)", re.IGNORECASE)
_PASSWORD: Final = re.compile(r"^[^/]*://[^/@]*:[^/@]+@")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")


class _Reasons(logging.Handler):
    """Keeps of apprise's log why a message failed, for the thread in which it was sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the status code of a line, or that there was no connection."""
        try:
            text = record.getMessage()
        except Exception:  # a line whose arguments do not fit
            return
        status = _STATUS.search(text)
        if status is not None:
            self.found.reason = f"answered {_status(int(status[1]))}"
        elif "onnection error" in text or "ocket" in text or "imeout" in text:
            self.found.reason = "cannot be reached, or gave no answer in time"


_reasons: Final = _Reasons()


class Service:
    """Somewhere a message can be sent to. Nothing of it shows its URL.

    Args:
        service: apprise's own object.
        apprise: the module.
    """

    __slots__ = ("_apprise", "_sender", "_service")

    def __init__(self, service: Any, apprise: Any) -> None:
        self._service = service
        self._apprise = apprise
        self._sender = apprise.Apprise()
        self._sender.add(service)

    def __repr__(self) -> str:
        return f"Service({self.label!r})"

    @property
    def label(self) -> str:
        """Scheme, and the host where it is one for sure; without secrets."""
        scheme = str(self._service.url(privacy=True)).partition("://")[0]
        if scheme not in _GENERIC or not self._service.host:
            return scheme
        port = f":{self._service.port}" if self._service.port else ""
        return f"{scheme}://{self._service.host}{port}"

    @property
    def max_text(self) -> int:
        """Greatest length of a message in characters, beside a title."""
        most = min(_MAX_BODY, int(self._service.body_maxlen or _MAX_BODY))
        inside = int(self._service.title_maxlen or 0) < _TITLE_ROOM  # then the title is put before the message
        return max(_LEAST_BODY, most - _TITLE_ROOM if inside else most)

    def has_secret(self, url: str) -> bool:
        """Tell whether the URL it was made of holds something that others should not see, as far as one can tell."""
        if self._service.url(privacy=True) != self._service.url(privacy=False) or _PASSWORD.search(url):
            return True
        rest = url.partition("://")[2]
        if self.label.partition("://")[2]:
            rest = rest.partition("/")[2]
        return _SECRET_WORDS.search(url) is not None or _TOKEN.search(rest) is not None

    def send(self, title: str, text: str, severity: Severity, *, fires: bool) -> None:
        """Send a message; takes as long as the service's time limits allow, or for ever.

        Raises:
            Undelivered: it was not accepted.
        """
        kind = self._apprise.NotifyType
        grave = kind.FAILURE if severity in ("high", "critical") else kind.WARNING
        _reasons.found.reason = "did not accept a message"
        accepted = self._sender.notify(
            body=_harmless(text),
            title=_harmless(title),
            notify_type=grave if fires else kind.SUCCESS,
            body_format=self._apprise.NotifyFormat.TEXT,
        )
        if not accepted:
            raise Undelivered(_reasons.found.reason)


def open_service(url: str) -> Service | None:
    """Return the service of a URL; None: apprise knows none.

    Raises:
        MissingExtra: apprise is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of its services import what is deprecated
            apprise: Any = importlib.import_module("apprise")
            _silence()
            service = apprise.Apprise.instantiate(url, asset=_asset(apprise))
    except ImportError:
        raise MissingExtra("--notify", "needs apprise", "pip install 'raftmon[notify]'") from None
    except Exception:  # whatever it is, its text may hold the URL
        service = None
    return Service(service, apprise) if service is not None else None


def scheme_of(url: str) -> str:
    """Return a URL's scheme, empty where there is none."""
    found = _SCHEME.match(url)
    return found[1] if found else ""


def _asset(apprise: Any) -> Any:
    """Return settings by which a message is sent in the thread that asks for it: a pool's would hold up the exit."""
    options: dict[str, Any] = {"app_id": "raftmon", "app_desc": "raftmon", "async_mode": False}
    try:
        return apprise.AppriseAsset(**options, service_timeout=0)
    except (AttributeError, TypeError):  # before 2.0 there was no such limit
        return apprise.AppriseAsset(**options)


def _silence() -> None:
    log = logging.getLogger("apprise")
    if _reasons not in log.handlers:
        log.addHandler(_reasons)
        log.setLevel(logging.WARNING)
        log.propagate = False
        for name in _SILENT:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _status(code: int) -> str:
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _harmless(text: str) -> str:
    """Take the meaning from what a chat reads as a call to people: a run may be named `@everyone` or `<!channel>`."""
    return re.sub(r"<(?=[!@#&/a-zA-Z])", "‹", text.replace("@", "\N{FULLWIDTH COMMERCIAL AT}"))
