"""The recorded campaigns of ``tests/campaigns``: read, labelled, and as a monitor would have seen them."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raftmon.signals.campaign import CampaignSignals, CycleFacts
from raftmon.signals.rates import Rate

__all__ = ["RECORDED", "RecordedCampaign", "RecordedCycle", "recorded_campaigns", "write_records"]

RECORDED: Final = Path(__file__).parent / "campaigns" / "recorded.jsonl.gz"
TRAINING_PROMPTS: Final = 26
HELD_OUT_PROMPTS: Final = 14
SAMPLES: Final = 32
TRUTH_SAMPLES: Final = 64
COLLAPSED: Final = 0.8
"""Share of its peak below which the held-out rate of a collapsed campaign stays until the end."""


@dataclass(frozen=True)
class RecordedCycle:
    """What was written down of one cycle."""

    learning_rate: float
    passed: int
    """Accepted samples of the training prompts, from the model that enters the cycle."""
    kept: int
    """Those trained on."""
    outputs: tuple[tuple[int, int], ...]
    """How many distinct accepted completions came how often."""
    distinct: float | None
    length: float | None
    length_sd: float | None
    entropy: float | None
    """Mean over the steps, nats per character."""
    loss: tuple[float, ...]
    """Per step, nats per character."""
    grad_norm: tuple[float, ...]
    """Per step, before clipping."""
    rho: float | None
    """Over 8 steps of the cycle; None where the gradients predicted no gain."""
    kl: tuple[float, float]
    """Nats per character on own held-out samples, after less before, and its standard error."""
    harm: tuple[float, float] | None
    """The same on verified ones; None without any."""
    held_passed: int
    """Accepted samples of the held-out prompts, from the model that leaves the cycle: what a monitor sees."""
    true_passed: int
    """The same in a sample of its own, twice as large: what the label is made from."""

    @property
    def true_rate(self) -> float:
        """Held-out rate of the model that leaves the cycle, from the sample that no rule sees."""
        return self.true_passed / (HELD_OUT_PROMPTS * TRUTH_SAMPLES)

    @property
    def loss_drop(self) -> float | None:
        """Fall of the loss from the first quarter of the cycle to its last."""
        quarter = len(self.loss) // 4
        if len(self.loss) < 8:
            return None
        return (sum(self.loss[:quarter]) - sum(self.loss[-quarter:])) / quarter


@dataclass(frozen=True)
class RecordedCampaign:
    """One campaign and what became of it."""

    task: str
    learning_rate: float
    temperature: float
    schedule: str
    seed: int
    cycles: tuple[RecordedCycle, ...]

    @property
    def peak(self) -> int:
        """Index of the cycle with the best true rate."""
        return max(range(len(self.cycles)), key=lambda index: self.cycles[index].true_rate)

    @property
    def collapse(self) -> int | None:
        """Index of the cycle from which on the true rate stays below `COLLAPSED` of its peak; None: no collapse.

        The last cycle alone does not show that it stays there, see `is_open`.
        """
        limit = COLLAPSED * self.cycles[self.peak].true_rate
        below = len(self.cycles)
        while below and self.cycles[below - 1].true_rate < limit:
            below -= 1
        return below if below < len(self.cycles) - 1 else None

    @property
    def is_open(self) -> bool:
        """Whether nobody can say if it collapses: only the last cycle lies below."""
        last = self.cycles[-1].true_rate < COLLAPSED * self.cycles[self.peak].true_rate
        return last and self.collapse is None

    def facts(self, *, rho: bool = True, probes: bool = True, held_out: bool = True) -> Iterator[CycleFacts]:
        """Yield the cycles as a monitor would have seen them.

        Args:
            rho: whether the trainer logs rho.
            probes: whether it logs the KL and the harm of its cycles.
            held_out: whether held-out prompts are asked.
        """
        for number, cycle in enumerate(self.cycles, start=1):
            asked = TRAINING_PROMPTS * SAMPLES
            training = Rate(cycle.passed / asked, asked, "training", TRAINING_PROMPTS)
            judged = HELD_OUT_PROMPTS * SAMPLES
            rate = Rate(cycle.held_passed / judged, judged, "held out", HELD_OUT_PROMPTS) if held_out else training
            yield CycleFacts(
                cycle=number,
                rate=rate.value,
                verified=rate.verified,
                prompts=rate.prompts,
                prompt_count=rate.prompt_count,
                held_out=held_out,
                outputs=cycle.outputs,
                distinct=cycle.distinct,
                entropy=cycle.entropy,
                mean_length=cycle.length,
                length_variation=cycle.length_sd / cycle.length if cycle.length and cycle.length_sd else None,
                training=training if held_out else None,
                acceptance=training.value,
                rho=cycle.rho if rho else None,
                kl=cycle.kl[0] if probes else None,
                harm=cycle.harm[0] if probes and cycle.harm is not None else None,
                loss_drop=cycle.loss_drop,
            )

    def readings(self, **seen: bool) -> list[Mapping[str, float | None]]:
        """Return the signals after each cycle; `seen` as for `facts`."""
        signals, readings = CampaignSignals(), list[Mapping[str, float | None]]()
        for facts in self.facts(**seen):
            signals.update(facts)
            readings.append(signals.readings())
        return readings


@functools.cache
def recorded_campaigns(path: Path = RECORDED) -> tuple[RecordedCampaign, ...]:
    """Read what `write_records` wrote."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return tuple(_campaign(json.loads(line)) for line in file)


def _campaign(record: dict[str, Any]) -> RecordedCampaign:
    cycles = tuple(_cycle(cycle) for cycle in record.pop("cycles"))
    return RecordedCampaign(**record, cycles=cycles)


def _cycle(record: dict[str, Any]) -> RecordedCycle:
    frozen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    frozen["outputs"] = tuple((times, count) for times, count in record["outputs"])
    return RecordedCycle(learning_rate=frozen.pop("lr"), **frozen)


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write campaigns to a file, equal byte by byte for equal campaigns; numbers keep four digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed:
        for record in records:
            packed.write(f"{json.dumps(_short(record), separators=(',', ':'))}\n".encode())


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _short(part) for name, part in value.items()}
    return [_short(part) for part in value] if isinstance(value, list | tuple) else value
