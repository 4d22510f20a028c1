"""Which findings a person has muted: asked of and noted in the journal in a thread of its own, known here at once.

With each answer comes what stands in the journal of the campaigns: a learning rate that another process has written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from textual.message import Message

from raftmon.errors import RaftmonError
from raftmon.model import CampaignView, Mute, RunView
from raftmon.plain import plain
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.journal import Applied

__all__ = ["JournalMutes", "MuteStore", "Mutes", "MutesArrived"]

LAST_WORD: Final = 1.0
"""Seconds that the end of the program waits for what is still to be noted."""

View: TypeAlias = RunView | CampaignView
_Wish: TypeAlias = tuple[bool, float | None]
"""Muted or not, and the wall time of the run's newest point when that was said."""
_Key: TypeAlias = tuple[str, str]
"""Path of a run or campaign as the snapshot has it (in the store: as the store calls it), and a rule."""


class MuteStore(Protocol):
    """Keeps mutes, for the next time and for other processes."""

    def place(self, path: str) -> str:
        """Return how a run's or campaign's directory is called in mutes; may block."""

    def standing(self) -> list[Mute]:
        """Return the mutes that were not lifted; may block, raises `RaftmonError`."""

    def applied(self) -> list[Applied]:
        """Return the newest override of each campaign that stands; may block, raises `RaftmonError`."""

    def keep(self, path: str, rule: str, seen: float | None, muted: bool) -> None:
        """Note that a finding is muted, or that it is no longer; may block, raises `RaftmonError`."""


@dataclass(frozen=True, slots=True)
class JournalMutes:
    """The mutes in the journal; it is opened when the first look at the screen is over."""

    journal: Path | None = None
    """Its file; None: the user's own."""

    def place(self, path: str) -> str:
        """Return the path without symbolic links, or the URL without secrets."""
        from raftmon.journal import place_of

        return place_of(path)

    def standing(self) -> list[Mute]:
        """Return what the journal holds."""
        from raftmon.journal import Journal

        return [mute for mute in Journal(self.journal).mutes() if mute.lifted_at is None]

    def applied(self) -> list[Applied]:
        """Return what the journal holds."""
        from raftmon.journal import Journal

        return Journal(self.journal).applied()

    def keep(self, path: str, rule: str, seen: float | None, muted: bool) -> None:
        """Write into the journal."""
        from raftmon.journal import Journal

        journal = Journal(self.journal)
        if muted:
            journal.mute(path, rule, seen)
        else:
            journal.lift(path, rule)


class MutesArrived(Message):
    """The store has answered, or has failed to.

    Args:
        standing: all mutes; None: not known.
        wish: what was noted, or could not be; None: it was only asked.
        trouble: why it failed; empty if it did not.
        places: what the store calls the paths that it was asked about.
        applied: the newest override of each campaign that stands; None: not known.
    """

    def __init__(
        self,
        standing: Iterable[Mute] | None,
        wish: tuple[_Key, _Wish] | None,
        trouble: str,
        places: Mapping[str, str] = MappingProxyType({}),
        applied: Iterable[Applied] | None = None,
    ) -> None:
        super().__init__()
        self.standing, self.wish, self.trouble, self.places = standing, wish, trouble, places
        self.applied = applied


class Mutes:
    """What is muted, for the user interface's thread alone.

    What is said here holds at once, and while the program runs also where it cannot be noted. A mute belongs to a run:
    one that begins in the same directory later is another one, and is not muted.

    The thread is a daemon: a journal on a dead file system must not keep the program from ending. Nor may such a one
    hold up the drawing: there links are followed, too, once a path, and what is not known yet is not muted.

    Args:
        store: keeps them; None: they end with the program.
    """

    def __init__(self, store: MuteStore | None = None) -> None:
        self._store = store
        self._post: Callable[[Message], bool] | None = None
        self._standing: dict[_Key, Mute] = {}
        self._rules: frozenset[str] = frozenset()
        self._applied: dict[str, Applied] = {}
        self._here: dict[_Key, _Wish] = {}
        self._places: dict[str, str] = {}
        self._asked: set[str] = set()
        self._jobs: SimpleQueue[Callable[[], MutesArrived] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = 0
        self._told = False
        self.at_rest = threading.Event()
        """Set while no answer is awaited."""
        self.at_rest.set()

    def begin(self, post: Callable[[Message], bool]) -> None:
        """Ask what is muted.

        Args:
            post: takes the answers, `MutesArrived`, from any thread; they are to be handed to `take`.
        """
        self._post = post
        self.ask()

    def ask(self, views: Iterable[View | None] = ()) -> bool:
        """Ask again, as other processes mute, too; returns whether an answer will come.

        Args:
            views: whose mutes must be known with the answer.
        """
        return self._request(None, {view.path for view in views if view is not None})

    def holds(self, view: View, rule: str) -> bool:
        """Tell whether a finding of a run or campaign is muted."""
        wish = self._here.get((view.path, rule))
        if wish is not None:
            return wish[0] and not _is_another(view, wish[1])
        # Links are followed only for what may be muted.
        place = self._place(view.path) if rule in self._rules else None
        mute = self._standing.get((place, rule)) if place is not None else None
        return mute is not None and not _is_another(view, mute.seen)

    def applied_to(self, campaign: CampaignView) -> Applied | None:
        """Return the newest override of a campaign that stands; None: none, or not known yet."""
        place = self._place(campaign.path) if self._applied else None
        return self._applied.get(place) if place is not None else None

    def toggle(self, view: View, rule: str) -> bool:
        """Mute a finding, or mute it no longer; returns which of the two."""
        muted = not self.holds(view, rule)
        wish = (muted, view.last_wall_time if isinstance(view, RunView) else None)
        self._here[view.path, rule] = wish
        self._request(((view.path, rule), wish), {view.path})
        return muted

    def take(self, answer: MutesArrived) -> str:
        """Take in an answer; returns what a person must be told, or nothing."""
        self._open -= 1
        if not self._open:
            self.at_rest.set()
        self._places.update(answer.places)
        if answer.standing is not None:
            self._standing = {(mute.path, mute.rule): mute for mute in answer.standing}
            self._rules = frozenset(rule for _, rule in self._standing)
        if answer.applied is not None:
            self._applied = {applied.campaign: applied for applied in answer.applied}
        if answer.wish is None:
            # That it cannot be read is told once, that something cannot be noted each time.
            told, self._told = self._told, self._told or bool(answer.trouble)
            return f"What was muted before is not known. {answer.trouble}" if answer.trouble and not told else ""
        (path, rule), wish = answer.wish
        if answer.trouble:
            return f"`{rule}` is {'muted' if wish[0] else 'no longer muted'} until raftmon ends. {answer.trouble}"
        if self._here.get((path, rule)) == wish:
            del self._here[path, rule]
        return ""

    def stop(self) -> None:
        """End the thread; what is to be noted still gets a moment."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(0.0 if self.at_rest.is_set() else LAST_WORD)

    def _request(self, job: tuple[_Key, _Wish] | None, paths: Iterable[str]) -> bool:
        if self._store is None or self._post is None:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, args=(self._post,), name="raftmon-mutes", daemon=True)
            self._thread.start()
        self._open += 1
        self.at_rest.clear()
        unknown = sorted(set(paths).difference(self._places))
        self._asked.update(unknown)
        self._jobs.put(partial(_answer, self._store, job, unknown))
        return True

    def _serve(self, post: Callable[[Message], bool]) -> None:
        while (job := self._jobs.get()) is not None:
            with suppress(RuntimeError):  # the app has ended meanwhile
                post(job())

    def _place(self, path: str) -> str | None:
        """Return what the store calls a path, None while that is not known; then it is asked, once."""
        if self._store is None:
            return path
        if path not in self._places and path not in self._asked:
            self._request(None, (path,))
        return self._places.get(path)


def _answer(store: MuteStore, wish: tuple[_Key, _Wish] | None, paths: Iterable[str]) -> MutesArrived:
    """Note a wish and ask what is muted; trouble becomes words, as nobody else could hear of it.

    Args:
        store: what to ask.
        wish: what to note, or None.
        paths: whose places are wanted, too.
    """
    open_wish = wish
    try:
        if wish is not None:
            (path, rule), (muted, seen) = wish
            store.keep(path, rule, seen, muted)
            open_wish = None
        return MutesArrived(store.standing(), wish, "", _places(store, paths), store.applied())
    except RaftmonError as error:
        trouble = f"{error.where}: {error.what}. {error.remedy}"
    except Exception as error:  # whatever it is, the screen must live on
        trouble = f"{type(error).__name__}: {error}"
    return MutesArrived(None, open_wish, plain(trouble), _places(store, paths))


def _places(store: MuteStore, paths: Iterable[str]) -> dict[str, str]:
    places = {}
    for path in paths:
        places[path] = path
        with suppress(Exception):  # else the screen would ask for it again and again
            places[path] = store.place(path)
    return places


def _is_another(view: View, seen: float | None) -> bool:
    """Whether a run has begun after a mute was made, by the trainer's clock."""
    began = view.first_wall_time if isinstance(view, RunView) else None
    return seen is not None and began is not None and began > seen
