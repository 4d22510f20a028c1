"""The frozen data that floors hand on to each other.

Lower floors make it, `Snapshot` collects it, front ends show it. Nothing here computes more than a property of
its own fields, and nothing here is ever changed after it was made. A value that could not be worked out is
``None`` ("not enough data"), never 0 and never False.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal, TypeAlias

from raftmon.grounds import Evidence
from raftmon.run_config import RunConfig
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

VerdictKind: TypeAlias = Literal["too_high", "too_low", "ok", "undecided"]
FindingState: TypeAlias = Literal["inactive", "pending", "firing", "resolved", "unknown"]
Severity: TypeAlias = Literal["informational", "low", "medium", "high", "critical"]
Authority: TypeAlias = Literal["show", "propose", "apply"]
RunState: TypeAlias = Literal["live", "idle", "finished", "empty"]
StandstillKind: TypeAlias = Literal["stalled", "cut_off", "ended"]
PointsTo: TypeAlias = Literal["lr_too_high", "lr_too_low", "lr_ok", "schedule", "data", "collapse", "health"]

SEVERITIES: tuple[Severity, ...] = ("informational", "low", "medium", "high", "critical")
"""From the mildest to the gravest."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file, a rule or a config, which did not stop the rest from being read."""

    where: str
    """A path, with ``:line:column`` where the place is known."""
    what: str
    """What is wrong there, in one sentence."""
    remedy: str
    """What a person can do about it; names the legal values where there are some."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of one signal at one step."""

    signal: str
    """Name in the signal registry, for example ``loss.drawup``."""
    value: float | None
    """None: not enough data for a value."""
    unit: str
    """For example ``ratio``, ``sigma``, ``points``; empty for a plain count."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule applied to one run, or to one campaign."""

    rule: str
    """Id of the rule."""
    title: str
    """What is the matter, at most 60 characters."""
    state: FindingState
    """``unknown`` when a signal that the rule needs has no reading; see `missing`."""
    severity: Severity
    points_to: PointsTo
    since_step: int | None
    """Step (cycle number for a campaign) at which the present state began; None while inactive or unknown."""
    readings: tuple[Reading, ...]
    """The signals which the rule looks at, as they are now."""
    thresholds: Mapping[str, float]
    """Parameter name to value: what the readings were compared with."""
    text: str
    """The rule's advice with the readings filled in; empty while inactive or unknown."""
    missing: tuple[str, ...] = ()
    """What the rule is waiting for, in words for people (``grad_norm``, ``30 loss points``)."""
    inhibited_by: str | None = None
    """Id of a firing rule that explains this one (the cause silences the symptom), or None."""
    evidence: Evidence | None = None
    """What is known of the rule; None for a rule that did not come from a file."""

    @property
    def tells_standstill(self) -> bool:
        """Whether it says what the run's `standstill` says."""
        return any(reading.signal == "run.standing_still" for reading in self.readings)


@dataclass(frozen=True, slots=True)
class Mute:
    """A finding that a person does not want to be called for, of one run or one campaign."""

    path: str
    """Directory of the run or campaign, without symbolic links; a URL without secrets."""
    rule: str
    """Id of the rule."""
    seen: float | None
    """Wall time of the run's newest point when it was muted, by the trainer's clock: what begins in the directory after
    that is another run. None: not known, or a campaign."""
    at: float
    """When it was muted, in seconds since the epoch."""
    lifted_at: float | None = None
    """When it was muted no longer; None: it still is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the learning rate of a run is right."""

    learning_rate: VerdictKind
    confidence: float
    """Probability (0..1) given to the stated kind; for ``undecided`` that of the likeliest kind."""
    why: str
    """The deciding evidence, or what is missing, in one short sentence."""
    reasons: tuple[str, ...] = ()
    """Each weighed signal with its reading and effect, strongest first."""
    would_change: tuple[str, ...] = ()
    """Observations that would show that the verdict is wrong."""
    measured: str = ""
    """How right such verdicts were on runs with a known answer; empty: undecided, or not measured."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do, with the arithmetic behind it."""

    parameter: str
    """``learning_rate``, ``checkpoint``, ``campaign``, or the config key concerned (``logging_steps``)."""
    current: float | None
    """The value in force, or None when it is unknown or the parameter is no number."""
    proposed: float | None
    """The value to set; None when the advice is no number or the value should be held."""
    authority: Authority
    because: tuple[str, ...]
    """Rule ids and arithmetic steps in the order in which they were applied."""
    text: str
    """The advice for people, one or two sentences."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesView:
    """One role of a run, ready to draw."""

    role: str
    """For example ``loss``, ``grad_norm``, ``learning_rate``, ``eval_loss``, ``reward``, ``entropy``."""
    tag: str
    """The tag as the trainer wrote it."""
    steps: Ints
    """In the order of arrival; may be decimated for long histories, see `count`."""
    values: Floats
    """Same length as `steps`; may hold NaN and infinities."""
    count: int
    """Points received, including those that decimation dropped."""

    @property
    def last(self) -> float | None:
        """The newest value, NaN included; None for an empty series."""
        return float(self.values[-1]) if len(self.values) else None

    @property
    def median(self) -> float | None:
        """The median of the finite values; None without one."""
        import numpy as np  # who only hands a Snapshot on does without it

        finite = self.values[np.isfinite(self.values)]
        return float(np.median(finite)) if len(finite) else None


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why a run that said nothing of its end is taken to stand still."""

    kind: StandstillKind
    """``stalled``: it should go on, and does not; ``cut_off``: the process that wrote it is gone before the planned
    end; ``ended``: that process is gone, and whether it was done is not known."""
    text: str
    """The evidence in words, durations included: ``nothing written for over 10 min, usually every 20 s``."""


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """Everything known about one run at one moment."""

    run: str
    """Path of the run below its logdir, ``.`` for the logdir itself."""
    path: str
    """Absolute path of the run's directory."""
    state: RunState
    """``live`` grows; ``idle`` has not grown for far longer than its own rhythm (paused, crashed or done), or its
    process is gone; ``finished`` said so itself; ``empty`` has no scalar yet. `standstill` says what else is known."""
    dialect: str
    """Which trainer wrote it: ``hf``, ``lightning``, ``verl``...; ``unknown``."""
    scenario: str
    """What kind of training: ``raft``, ``sft``, ``lora``, ``dpo``, ``rl``, ``pretrain``; ``any`` if unknown."""
    campaign: str | None
    """Name of the campaign that this run is a cycle of, or None."""
    cycle: int | None
    """Number of the cycle, or None."""
    last_step: int | None
    """Largest step seen, or None without scalars."""
    last_wall_time: float | None
    """Wall time of the newest point in seconds since the epoch, as the trainer wrote it."""
    series: Mapping[str, SeriesView]
    """Role to series. Has at most one series a role; `other_tags` counts the rest."""
    other_tags: int
    """Scalar tags without a role."""
    config: RunConfig
    verdict: Verdict
    findings: tuple[Finding, ...]
    """Every rule that applies to this run, firing ones first, then by severity."""
    advice: tuple[Advice, ...]
    first_wall_time: float | None = None
    """Wall time of the oldest point in seconds since the epoch, as the trainer wrote it."""
    step_axis: str = "optimizer_step"
    """What the trainer counts as a step; ``cycle`` where one run holds a whole campaign. See `rules/dialects.yaml`."""
    clock: tuple[Ints, Floats] | None = None
    """Some steps, ascending, and the wall times at which they were logged, of the same length, for an axis of time;
    None if they are not known."""
    standstill: Standstill | None = None
    """Set only where there is evidence; None also for the many logs that ended long ago without saying so."""

    @property
    def stalled(self) -> str | None:
        """Why the run is taken to be stalled; None: it is not, or nobody can tell."""
        return self.standstill.text if self.standstill is not None and self.standstill.kind == "stalled" else None

    @property
    def firing(self) -> tuple[Finding, ...]:
        """The findings that fire and are not explained by another one."""
        return tuple(f for f in self.findings if f.state == "firing" and f.inhibited_by is None)


@dataclass(frozen=True, slots=True)
class RateChange:
    """A cycle's verification rate against that of the judged cycle before it."""

    since: int
    """Number of the cycle compared with: the newest one before that has a rate."""
    difference: float
    """This rate less that one, as a share: below 0 it fell."""
    z: float | None
    """The difference in standard errors, with what is known of the prompts; None: a rate came without a count."""
    needed: float
    """What `z` must exceed, whatever its sign; grows with the cycles compared, as chance has had more tries."""

    @property
    def significant(self) -> bool | None:
        """Whether chance does not explain the difference; None: it cannot be tested."""
        return None if self.z is None else abs(self.z) > self.needed


@dataclass(frozen=True, slots=True)
class CycleView:
    """One cycle of a campaign."""

    cycle: int
    run: str | None
    """Path of the cycle's run below the logdir; None when only sidecar files are there."""
    learning_rate: float | None
    """What the cycle was given: the largest rate logged where the log shows the peak, else the configured one."""
    verification_rate: float | None
    """Share (0..1) of generated samples that the verifier accepted."""
    verified: int | None
    """Samples that the verifier judged: the n behind the rate."""
    kept: int | None
    """Samples that were trained on."""
    interval: tuple[float, float] | None
    """Wilson 95 % interval of the rate; None without counts."""
    measures: Literal["before", "after"]
    """Whether the rate measures the model that entered the cycle (its own samples were verified, then trained
    on) or the one that left it (held-out prompts after training)."""
    held_out: bool
    """Whether the rate was measured on prompts that are not trained on."""
    unique_fraction: float | None
    """Distinct accepted completions over accepted completions."""
    source: str
    """File or tag that the rate comes from; empty without a rate."""
    training_rate: float | None = None
    """Rate on the prompts that are trained on, where `verification_rate` is the held-out one."""
    change: RateChange | None = None
    """Against the judged cycle before; None: there is none, or this one has no rate."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the arithmetic behind a learning rate."""

    rule: str
    """What it rests on: the id of a rule, or ``strategy:exponential``, ``probe:rho``, ``change:lora_rank``..."""
    factor: float | None
    """What the rate was multiplied by; None: the step sets, holds or remarks."""
    text: str
    """The arithmetic in words."""


@dataclass(frozen=True, slots=True)
class NextCycle:
    """What the next cycle should do."""

    cycle: int
    learning_rate: float | None
    """None: nothing is known to start from."""
    authority: Authority
    steps: tuple[Step, ...]
    """The arithmetic, in order."""
    roll_back_to: int | None
    """Start from the checkpoint that this cycle saved (0: the base model); None: go on from the newest."""
    stop: bool
    """True: end the campaign and ship the best checkpoint."""
    text: str
    """The advice for people."""
    evidence_factor: float = 1.0
    """What rules and changes of the configuration made of the strategy's rate, as far as the guardrails let them."""
    acted: tuple[tuple[str, int], ...] = ()
    """(rule, cycle whose evidence it rests on) of what moved the number here: the same evidence counts once."""
    held: tuple[str, ...] = ()
    """Fields of `RunConfig` whose change would have raised the rate and did not; it may later."""
    reference: RunConfig | None = None
    """The configuration that the rate is meant for; None: not known."""

    @property
    def because(self) -> tuple[str, ...]:
        """The arithmetic in words."""
        return tuple(step.text for step in self.steps)


@dataclass(frozen=True, slots=True)
class StrategyPlan:
    """The learning rates that one strategy means for the next cycles, before any evidence or guardrail."""

    name: str
    """``constant``, ``decay 0.85``, ``manual``, or ``hold`` for the rate in force."""
    first: int
    """Number of the cycle that the first rate is for."""
    rates: tuple[float, ...]
    """One a cycle."""
    chosen: bool
    """Whether the advice for the next cycle begins with it."""


@dataclass(frozen=True, slots=True, eq=False)
class CampaignView:
    """The cycles of one RAFT experiment."""

    name: str
    """Path of the campaign's directory below the logdir, ``.`` for the logdir itself."""
    path: str
    """Absolute path."""
    cycles: tuple[CycleView, ...]
    """In the order of their numbers."""
    best_cycle: int | None
    """The cycle with the best verification rate; None without rates."""
    next: NextCycle | None
    """None until one cycle has a learning rate or a rate."""
    findings: tuple[Finding, ...]
    """Rules on the campaign as a whole; steps are cycle numbers."""
    plans: tuple[StrategyPlan, ...] = ()
    """The strategies side by side for the next cycles; empty where no learning rate is known to start from."""

    @property
    def title(self) -> str:
        """The name for people: that of the logdir where the campaign is the logdir itself."""
        return self.name if self.name != "." else self.path.rstrip("/").rsplit("/", 1)[-1] or "/"

    @property
    def firing(self) -> tuple[Finding, ...]:
        """The findings that fire and are not explained by another one."""
        return tuple(f for f in self.findings if f.state == "firing" and f.inhibited_by is None)


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU of this machine; None where its driver does not tell."""

    index: int
    """As the driver counts, per maker."""
    name: str
    """As the driver calls it: ``NVIDIA H100 80GB HBM3``."""
    utilisation: float | None = None
    """Share (0..1) of the last seconds in which it was at work on anything at all."""
    memory_used: int | None = None
    """Bytes, of all processes."""
    memory_total: int | None = None
    """Bytes."""
    power: float | None = None
    """Watts."""
    temperature: float | None = None
    """Degrees Celsius."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that a front end ever sees: the state of every logdir at one moment."""

    logdirs: tuple[str, ...]
    runs: tuple[RunView, ...]
    """Live and stalled ones first, then by name."""
    campaigns: tuple[CampaignView, ...]
    problems: tuple[Problem, ...]
    version: int
    """Grows by one whenever anything in the snapshot changed."""
    events_read: int = 0
    """Scalar points decoded since the start."""
    polled_at: float = 0.0
    """Clock time of the poll, seconds since the epoch."""
    backfilling: bool = False
    """True while the budget of a poll was spent before all files were read to their ends."""
    progress: float | None = field(default=None)
    """Share (0..1) of the known bytes that are read; None when nothing is pending."""
    gpus: tuple[GpuView, ...] = ()
    """The GPUs of this machine; empty without one that can be read, for remote logdirs, and while no run is live."""
    unread: frozenset[str] = frozenset()
    """Paths of the runs whose files are not read to their ends."""
    bytes_read: int = 0
    """Bytes of event files read since the start; what is read again counts again."""
    lags: tuple[float, ...] = ()
    """Of each run judged in this poll whose unread write was told of: seconds from the first notice of it to this
    snapshot; where nobody tells, from the look before."""
