"""The metrics there are: their names, kinds, labels and meanings.

Names are a promise: rules, dashboards and people's own queries rest on them.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from raftmon.slotted import dataclass

__all__ = ["FAMILIES", "PROCESS", "Family", "table"]

Kind: TypeAlias = Literal["gauge", "counter", "histogram"]
_RUN: Final = ("logdir", "run")
_CAMPAIGN: Final = ("logdir", "campaign")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    """As Prometheus stores it; a counter's without its ending `_total`, a histogram's without `_bucket`."""
    kind: Kind
    labels: tuple[str, ...]
    help: str
    """What it says, with its unit."""

    @property
    def stored(self) -> str:
        """The name to ask for."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


FAMILIES: Final = (
    Family(
        "raftmon_run_state",
        "gauge",
        (*_RUN, "state"),
        "1 for the state that a run is in: live, stalled, cut_off, ended, idle, finished or empty.",
    ),
    Family("raftmon_run_last_step", "gauge", _RUN, "Largest step that a run has logged."),
    Family(
        "raftmon_run_last_point_timestamp_seconds",
        "gauge",
        _RUN,
        "When a run logged its newest point, by the trainer's clock, in seconds since the epoch.",
    ),
    Family(
        "raftmon_run_steps_per_second",
        "gauge",
        _RUN,
        "Steps a second over the last minute that a run logged; 0 where it no longer goes on.",
    ),
    Family("raftmon_run_learning_rate", "gauge", _RUN, "Learning rate that a run logged last."),
    Family(
        "raftmon_run_recommended_learning_rate",
        "gauge",
        _RUN,
        "Learning rate that is advised for a run; missing while there is no advice.",
    ),
    Family(
        "raftmon_run_verdict_confidence",
        "gauge",
        (*_RUN, "verdict"),
        "Confidence (0 to 1) of the verdict on a run's learning rate: too_high, too_low, ok or undecided. Of undecided "
        "it is that of the likeliest of the others.",
    ),
    Family(
        "raftmon_finding_firing",
        "gauge",
        ("logdir", "run", "campaign", "rule", "severity"),
        "1 for each finding that fires and is not explained by another one, of a run (no label campaign) or of a "
        "campaign (no label run).",
    ),
    Family(
        "raftmon_campaign_verification_ratio",
        "gauge",
        (*_CAMPAIGN, "cycle"),
        "Share (0 to 1) of a cycle's samples that the verifier accepted; the newest 12 cycles.",
    ),
    Family(
        "raftmon_campaign_newest_verification_ratio",
        "gauge",
        _CAMPAIGN,
        "Share (0 to 1) of the samples that the verifier accepted, of the newest cycle for which it is known.",
    ),
    Family("raftmon_campaign_best_cycle", "gauge", _CAMPAIGN, "Cycle with the best verification rate."),
    Family("raftmon_campaign_newest_cycle", "gauge", _CAMPAIGN, "Number of the newest cycle."),
    Family("raftmon_campaign_next_learning_rate", "gauge", _CAMPAIGN, "Learning rate advised for the next cycle."),
    Family(
        "raftmon_campaign_advice",
        "gauge",
        (*_CAMPAIGN, "advice"),
        "1 for what is advised after the newest cycle: go_on, roll_back or stop.",
    ),
    Family("raftmon_runs", "gauge", ("state",), "Runs by state, with those that are not exported one by one."),
    Family(
        "raftmon_runs_omitted",
        "gauge",
        (),
        "Runs that should be exported one by one and are too many: 2000 are, the live ones first.",
    ),
    Family("raftmon_campaigns_omitted", "gauge", (), "Campaigns that should be exported and are more than 500."),
    Family("raftmon_problems", "gauge", (), "Files, directories, rules and endpoints that something is wrong with."),
    Family(
        "raftmon_trouble",
        "gauge",
        ("part",),
        "Problems of a part of the daemon itself: journal, listen, notify or actions.",
    ),
    Family("raftmon_live", "gauge", (), "1 while the daemon's loop goes round, else 0."),
    Family("raftmon_ready", "gauge", (), "1 once all files were read to their ends, else 0."),
    Family("raftmon_events_read", "counter", (), "Scalar points that were read."),
    Family("raftmon_bytes_read", "counter", (), "Bytes of event files that were read."),
    Family("raftmon_snapshots", "counter", (), "Polls that changed something, and one at least each half minute."),
    Family(
        "raftmon_lag_seconds",
        "histogram",
        (),
        "Seconds from the system's notice of a write until what follows from it was known.",
    ),
    Family("raftmon_build_info", "gauge", ("version",), "1, with the version of raftmon."),
)
"""All but those of `PROCESS`, in the order in which they are exported."""

PROCESS: Final = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""What prometheus-client tells of the daemon's process."""


def table() -> str:
    """Return a Markdown table of all metrics."""
    rows = ["| metric | labels | says |", "|---|---|---|"]
    for family in FAMILIES:
        labels = " ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.stored}` | {labels} | {family.help} |")
    names = " ".join(f"`{name}`" for name in PROCESS)
    rows.append(f"| {names} | | The daemon's process: CPU time, memory, files. |")
    return "\n".join(rows) + "\n"
