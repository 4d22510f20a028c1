"""The campaigns as the monitor follows them: looked at when something near them changed, viewed anew when it counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from raftmon.board import Board, in_order
from raftmon.model import CampaignView, Problem, RunView

if TYPE_CHECKING:
    from raftmon.advice.campaigns import CampaignJudge, NextRun
    from raftmon.advice.rule import Rule
    from raftmon.advice.settings import Settings

__all__ = ["FollowedCampaigns"]

QUIET_SECONDS: Final = 1.5
"""Seconds without growth after which a watched file of verdicts counts as whole."""
SETTLE_SECONDS: Final = 10.0
"""Seconds after a change near a campaign during which its files are looked at again, until they are quiet."""


class FollowedCampaigns:
    """Follows campaigns by the paths of their directories.

    Args:
        rules: all that are enabled, those on runs included.
        settings: strategy and guardrails.
        coming: the training that is about to start, where it is known.
        watching: whether files are still being written.
    """

    def __init__(self, rules: Sequence[Rule], settings: Settings, coming: NextRun | None, *, watching: bool) -> None:
        self._rules = rules
        self._settings = settings
        self._coming = coming
        self._quiet = QUIET_SECONDS if watching else 0.0
        self._judges: dict[str, CampaignJudge] = {}
        self._cycles: dict[str, dict[str, int]] = {}
        self._at: dict[str, list[str]] = {}
        self._views: dict[str, CampaignView | None] = {}
        self._problems: dict[str, list[Problem]] = {}
        self._stale: set[str] = set()
        self._restless: dict[str, float] = {}
        self._new: set[str] = set()
        self._behind: set[str] = set()

    def add(self, logdir: str, path: str, files: str) -> None:
        """Follow a campaign, unless it is followed already.

        Args:
            logdir: where it was found.
            path: its directory, which need not exist.
            files: the directory with its files.
        """
        if path in self._judges:
            return
        # Imported here because most logdirs have no campaign.
        from raftmon.advice.campaigns import CampaignJudge

        name = Path(path).relative_to(logdir).as_posix()
        self._judges[path] = CampaignJudge(name, Path(files), self._rules, self._settings, self._quiet, self._coming)
        beside = self._at.setdefault(files, [])
        beside.append(path)
        self._stale.update(beside)  # whose the files are is decided among them
        self._new.add(path)

    def enter(self, run: str, campaign: str, cycle: int) -> None:
        """Count a run as a cycle of a campaign."""
        self._cycles.setdefault(campaign, {})[run] = cycle
        self._new.add(campaign)

    def leave(self, run: str, campaign: str | None) -> None:
        """Take a run out of its campaign."""
        if campaign is not None and self._cycles.get(campaign, {}).pop(run, None) is not None:
            self.touch(campaign)

    def touch(self, campaign: str) -> None:
        """View a campaign anew: one of its runs has changed."""
        self._stale.add(campaign)

    def name_of(self, campaign: str | None) -> str | None:
        """Return a campaign's name; None for none."""
        return self._judges[campaign].name if campaign is not None else None

    @property
    def more(self) -> bool:
        """Whether the budget of a look ended before some files did."""
        return bool(self._behind)

    def follow(self, near: Collection[str] | None, swept: Collection[str], now: float) -> bool:
        """Look at the files of campaigns; returns whether they say anything new.

        Args:
            near: directories in which something changed; None: all.
            swept: directories of which nobody told that are to be looked at.
            now: seconds since the epoch.
        """
        due = set(self._judges) if near is None else {path for one in near for path in self._above(one)}
        due |= {path for one in self._at.keys() & set(swept) for path in self._at[one]}
        due |= self._behind | self._new
        self._new.clear()
        self._restless |= dict.fromkeys(due, now)
        return self._follow(due)

    def settle(self, now: float) -> bool:
        """Look once more where something changed lately, until it is quiet; returns whether that says anything new."""
        self._restless = {path: since for path, since in self._restless.items() if now - since <= SETTLE_SECONDS}
        return self._follow(self._restless.keys())

    def _follow(self, paths: Collection[str]) -> bool:
        found = False
        for path in paths:
            judge = self._judges[path]
            if judge.follow(list(self._cycles.get(path, {}).values())):
                found = True
                self._stale.add(path)
            self._problems[path] = list(judge.problems)
            (self._behind.add if judge.more else self._behind.discard)(path)
        return found

    def views(self, board: Board) -> tuple[CampaignView, ...]:
        """Return the views of all campaigns that have something to show, in the order of their paths."""
        for path in self._stale if self._coming is None else list(self._judges):
            self._views[path] = self._view(path, board)
        self._stale.clear()
        views = ((path, self._views.get(path)) for path in in_order(self._judges))
        return tuple(view for _, view in views if view is not None)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with files of campaigns."""
        for path in in_order(path for path, problems in self._problems.items() if problems):
            yield from self._problems[path]

    def _above(self, directory: str) -> Iterator[str]:
        """Yield the campaigns whose files may lie in a directory."""
        while True:
            yield from self._at.get(directory, ())
            above = directory.rpartition("/")[0]
            if not above or above == directory:
                return
            directory = above

    def _view(self, path: str, board: Board) -> CampaignView | None:
        judge = self._judges[path]
        runs: dict[int, RunView] = {}
        for run, cycle in self._cycles.get(path, {}).items():
            view = board.get(run)
            if view is None:
                continue
            best = runs.get(cycle)
            if best is None or _rank(view) >= _rank(best):
                runs[cycle] = view
        # Files beside runs named `<name>_iter3` lie in the directory above the campaign's own.
        claimed = len(self._at[str(judge.path)]) > 1
        return judge.view(runs) if runs or (judge.has_cycles() and not claimed) else None


def _rank(view: RunView) -> tuple[bool, bool, float, str]:
    """Rank the runs of one cycle: a training before what only stands beside it, then the newest."""
    return "loss" in view.series, "learning_rate" in view.series, view.last_wall_time or 0.0, view.run
