"""The newest snapshot as metrics for Prometheus, worked out when somebody asks.

prometheus-client renders them: this module hands it samples through a collector of its own. What follows from a view
that did not change is kept, and a text is handed out again for a while, so that many who ask cost what one does.
"""

from __future__ import annotations

import gzip
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from raftmon import __version__
from raftmon.daemon.exported import Exported, states
from raftmon.daemon.families import FAMILIES
from raftmon.daemon.health import Health
from raftmon.daemon.samples import Sampled, of_campaign, of_run
from raftmon.errors import MissingExtra
from raftmon.happenings import Happening
from raftmon.model import CampaignView, Problem, RunView, Snapshot
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["LAG_BOUNDS", "Metrics", "Page"]

LAG_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of the lag, in seconds."""
REUSE_SECONDS: Final = 0.5
"""For so long at least a rendered text is handed out again,"""
REUSE_SHARE: Final = 20.0
"""...and for so many times what it cost, so that whoever asks without end has a twentieth of a core,"""
REUSE_MOST: Final = 10.0
"""...but never for longer: on a machine that is busy with other things the time says little of the cost."""
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """Metrics as they are sent."""

    content_type: str
    body: bytes
    packed: bool
    """Whether `body` is compressed by gzip."""


class Metrics:
    """A sink that keeps the newest snapshot, and renders it when asked.

    Args:
        health: tells how the daemon is.
        troubles: tells how many problems each part of the daemon has now, by name.
        clock: seconds since the epoch.
        timer: seconds, from any moment on.
        exported: chooses what is exported one by one.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """

    def __init__(
        self,
        health: Callable[[], Health] | None = None,
        troubles: Callable[[], Mapping[str, int]] = dict,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        exported: Exported | None = None,
    ) -> None:
        self._health = health
        self._troubles = troubles
        self._clock = clock
        self._timer = timer
        self._exported = exported if exported is not None else Exported()
        self._snapshot: Snapshot | None = None
        self._counts = _Counts()
        self._lock = threading.Lock()
        self._rendering = threading.Lock()
        self._kept: dict[str, tuple[RunView | CampaignView, tuple[Sampled, ...]]] = {}
        self._pages: dict[str, tuple[float, Page, Page]] = {}
        self._registry = _registry(self)

    def take(self, snapshot: Snapshot, news: Sequence[Happening] = ()) -> None:  # noqa: ARG002 - a Sink's
        """Keep the newest snapshot."""
        with self._lock:
            self._counts.take(snapshot, self._snapshot)
            self._exported.take(snapshot, self._clock())
            self._snapshot = snapshot

    def problems(self) -> Sequence[Problem]:
        """Return nothing: what is rendered in memory cannot fail."""
        return ()

    def close(self, seconds: float) -> None:
        """Do nothing: there is nothing to finish."""

    def page(self, accept: str = "", *, packed: bool = False) -> Page:
        """Return the metrics in the format that somebody accepts: OpenMetrics, or Prometheus' older text.

        Args:
            accept: the header `Accept`.
            packed: whether gzip is understood.
        """
        kind = OPENMETRICS if _wants_openmetrics(accept) else PLAIN
        # One renders, the others wait for its text.
        with self._rendering:
            until, plain, small = self._pages.get(kind, (0.0, None, None))
            begun = self._timer()
            if plain is None or small is None or begun >= until:
                body = self._render(kind)
                plain, small = Page(kind, body, False), Page(kind, gzip.compress(body, 3), True)
                ended = self._timer()
                until = ended + min(max(REUSE_SECONDS, REUSE_SHARE * (ended - begun)), REUSE_MOST)
                self._pages[kind] = until, plain, small
        return small if packed else plain

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of this module as they are now; prometheus-client calls it."""
        from prometheus_client.metrics_core import Metric
        from prometheus_client.samples import Sample

        made = {family.name: Metric(family.name, family.help, family.kind) for family in FAMILIES}
        for name, labels, value in self._sampled():
            family = _FAMILY_OF[name]
            made[family].samples.append(Sample(name, labels, value))
        yield from (metric for metric in made.values() if metric.samples)

    def _render(self, kind: str) -> bytes:
        from prometheus_client import exposition
        from prometheus_client.openmetrics import exposition as openmetrics

        # What clients say of versions and escaping changes nothing in what is exported here.
        render: Callable[[CollectorRegistry], bytes] = exposition.generate_latest
        if kind == OPENMETRICS:
            render = openmetrics.generate_latest
        return render(self._registry)

    def _sampled(self) -> Iterator[Sampled]:
        with self._lock:
            snapshot, counted = self._snapshot, tuple(self._counts.sampled())
            chosen = self._exported.choose(snapshot, self._clock()) if snapshot is not None else None
        if snapshot is not None and chosen is not None:
            yield from self._views(chosen.runs, chosen.campaigns)
            for state, count in states(snapshot.runs).items():
                yield "raftmon_runs", {"state": state}, float(count)
            yield "raftmon_runs_omitted", {}, float(chosen.runs_omitted)
            yield "raftmon_campaigns_omitted", {}, float(chosen.campaigns_omitted)
            yield "raftmon_problems", {}, float(len(snapshot.problems))
        for part, number in self._troubles().items():
            yield "raftmon_trouble", {"part": part}, float(number)
        if self._health is not None:
            health = self._health()
            yield "raftmon_live", {}, float(health.live)
            yield "raftmon_ready", {}, float(health.ready)
        yield from counted
        yield "raftmon_build_info", {"version": __version__}, 1.0

    def _views(self, runs: Iterable[RunView], campaigns: Iterable[CampaignView]) -> Iterator[Sampled]:
        """Yield what is exported of each; what did not change since was worked out before.

        Of a live run nothing is kept: it is another one at the next scrape, and its view would keep all of its series
        in the memory until then.
        """
        before, self._kept = self._kept, {}
        making: list[tuple[str, RunView | CampaignView, Callable[[], Iterator[Sampled]]]] = [
            *((f"run {run.path}", run, partial(of_run, run)) for run in runs),
            *((f"campaign {one.path}", one, partial(of_campaign, one)) for one in campaigns),
        ]
        for key, view, make in making:
            known = before.get(key)
            if known is None or known[0] is not view:
                known = view, tuple(make())
            if not (isinstance(view, RunView) and view.state == "live"):
                self._kept[key] = known
            yield from known[1]


class _Counts:
    """What only grows; the source begins anew at 0 when the settings are read again."""

    def __init__(self) -> None:
        self.events = self.bytes = self.snapshots = self.lags = 0
        self.lag_seconds = 0.0
        self.buckets = [0] * (len(LAG_BOUNDS) + 1)

    def take(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        self.snapshots += 1
        events, size = (before.events_read, before.bytes_read) if before is not None else (0, 0)
        anew = snapshot.events_read < events or snapshot.bytes_read < size
        self.events += snapshot.events_read - (0 if anew else events)
        self.bytes += snapshot.bytes_read - (0 if anew else size)
        if before is not None and before.version == snapshot.version and not anew:
            return  # the same one again
        for lag in snapshot.lags:
            self.buckets[bisect_left(LAG_BOUNDS, lag)] += 1
            self.lag_seconds += max(0.0, lag)
            self.lags += 1

    def sampled(self) -> Iterator[Sampled]:
        yield "raftmon_events_read_total", {}, float(self.events)
        yield "raftmon_bytes_read_total", {}, float(self.bytes)
        yield "raftmon_snapshots_total", {}, float(self.snapshots)
        below = 0
        for bound, count in zip((*LAG_BOUNDS, float("inf")), self.buckets, strict=True):
            below += count
            yield "raftmon_lag_seconds_bucket", {"le": "+Inf" if bound == float("inf") else str(bound)}, float(below)
        yield "raftmon_lag_seconds_count", {}, float(self.lags)
        yield "raftmon_lag_seconds_sum", {}, self.lag_seconds


_ENDINGS: Final = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_FAMILY_OF: Final = {f"{family.name}{ending}": family.name for family in FAMILIES for ending in _ENDINGS[family.kind]}


class _Collector:
    """What prometheus-client asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.collect()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry need not know the names, which are asked for when it is made."""
        return ()


def _registry(metrics: Metrics) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector
    except ImportError:
        what, remedy = "prometheus-client is not installed", "Install the extra: pip install 'raftmon[metrics]'"
        raise MissingExtra("--listen", what, remedy) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    ProcessCollector(registry=registry)
    return registry


def _wants_openmetrics(accept: str) -> bool:
    """Tell whether OpenMetrics is accepted; what is no such header asks for nothing."""
    from prometheus_client.exposition import choose_encoder

    try:
        return choose_encoder(accept)[1].startswith("application/openmetrics-text")
    except (TypeError, ValueError):  # a version that is none
        return False
