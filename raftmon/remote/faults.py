"""What can go wrong between here and there, in words of our own.

The text of a foreign exception is never shown: it may quote a URL with its password or signature, a header, a key.
What is taken from it is its kind, and the server's error code where that is a plain word (``SlowDown``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from raftmon.model import Problem

__all__ = ["Backoff", "Failed", "Fault", "FaultKind", "fault_of"]

FaultKind: TypeAlias = Literal["absent", "denied", "unanswered", "passing", "local"]
"""``absent``: nothing is there; ``denied``: not allowed to look; ``unanswered``: no answer in time; ``passing``: may
work the next time; ``local``: the mirror on this machine cannot be written."""

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,39}|\d{3}")
_DENIED_NAMES: Final = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "DefaultCredentialsError",
        "RefreshError",
        "PermissionDenied",
        "KeyImportError",
    }
)
"""Exceptions of botocore, google-auth and asyncssh, which are known by name so that none of them is imported."""
_DENIED_CODES: Final = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_ABSENT_CODES: Final = frozenset({"404", "NoSuchBucket", "NoSuchKey"})
_SLOW_CODES: Final = frozenset({"429", "503", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"})
_MALFORMED_NAMES: Final = frozenset({"ParamValidationError", "InvalidURL", "UnsupportedProtocol"})
"""Exceptions that no second attempt can mend: no server was asked."""
_NETWORK: Final = "Check the network and the address."


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something could not be listed or read."""

    kind: FaultKind
    what: str
    remedy: str

    def problem(self, where: str, again: str = "") -> Problem:
        """Return it as a problem of a place; `again` is added to the remedy."""
        return Problem(where, self.what, self.remedy + again)


class Failed(Exception):
    """Something could not be listed or read; carries why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


def fault_of(error: BaseException) -> Fault:
    """Say in words of our own what an exception of a file system means."""
    if isinstance(error, Failed):
        return error.fault
    chain = list(_causes(error))
    names = {type(link).__name__ for link in chain}
    code = next((code for link in chain if (code := _code(link))), "")
    told = f" ({code})" if code else ""
    if "HostKeyNotVerifiable" in names:
        return Fault("denied", "the host is not known", "Connect to it once with `ssh` and confirm its key.")
    if code in _DENIED_CODES or names & _DENIED_NAMES or any(isinstance(link, PermissionError) for link in chain):
        missing = " (no credentials found)" if "NoCredentialsError" in names else told
        remedy = "Check this user's credentials (environment, profile, key) and the right to list and to read"
        return Fault("denied", f"access denied{missing}", f"{remedy}.")
    absent = isinstance(error, FileNotFoundError | NotADirectoryError)
    if absent or code in _ABSENT_CODES:
        return Fault("absent", f"no such bucket or directory{told}", "Check the name; a bucket is in one account.")
    if names & _MALFORMED_NAMES:
        remedy = "Write it as PROTOCOL://BUCKET/PATH; credentials come from the environment or a profile"
        return Fault("absent", "no such address can be", f"{remedy}.")
    if code in _SLOW_CODES:
        return Fault(
            "passing", f"the server asks to slow down{told}", "Give a logdir with fewer files, or look less often."
        )
    if any(isinstance(link, TimeoutError) for link in chain) or any("Timeout" in name for name in names):
        return Fault("unanswered", "no answer in time", _NETWORK)
    if code:
        return Fault("passing", f"the server answers with an error{told}", "Look at the state of the service.")
    name = type(chain[-1]).__name__
    return Fault("passing", f"the connection failed ({name})", _NETWORK)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _code(error: BaseException) -> str:
    """Return the server's code: botocore's and gcsfs' exceptions bear it, each in its own way."""
    response = getattr(error, "response", None)
    found = response.get("Error", {}).get("Code") if isinstance(response, dict) else getattr(error, "code", None)
    if found is None:
        found = getattr(error, "status", None)
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return text if _WORD.fullmatch(text) else ""


class Backoff:
    """How long to wait after each failure in a row: twice as long each time, and never in step with others.

    Args:
        random: a number in [0, 1).
        least: seconds after the first failure, at most.
        most: seconds that no wait exceeds.
    """

    def __init__(self, random: Callable[[], float], least: float = 1.0, most: float = 60.0) -> None:
        self.failures = 0
        self._random = random
        self._least = least
        self._most = most

    def failed(self) -> float:
        """Note a failure; return the seconds to wait, between half and all of the present length."""
        length: float = min(self._most, self._least * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return length * (0.5 + 0.5 * self._random())

    def worked(self) -> None:
        """Begin again with the shortest wait."""
        self.failures = 0
