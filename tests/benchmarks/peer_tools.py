"""Other tools that read training logs: how each is run, and which direction its own words point.

A tool's findings come as JSON. What counts is the text of each finding that tells a cause or a remedy: if it holds one
of the phrases below, the run was told to raise or to lower its learning rate, or that it has failed. Advice on the
shape of the schedule alone (add a warm-up, let it decay) is no direction. Where a text leaves a choice, it is read in
the tool's favour. Nothing of the tools' code is used here; they run as programs, in an environment of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Answer: TypeAlias = Literal["raise", "lower", "both", "ok", "failed", "nothing", "undecided", "broken"]
"""What a run is told: to raise or to lower its learning rate, both at once, that it is right, that the run failed (no
direction), or nothing of all that.

``undecided`` is a tool that says that it cannot tell; ``broken`` one that crashed, ran out of time, or wrote no JSON.
"""
TIME_LIMIT: Final = 60.0
"""Seconds for one run; the slowest needs less than one."""


@dataclass(frozen=True)
class Phrases:
    """What to look for in the text of a finding, in lower case."""

    raises: tuple[str, ...] = ()
    """Phrases that tell to raise the learning rate."""
    lowers: tuple[str, ...] = ()
    """Phrases that tell to lower it."""
    fails: tuple[str, ...] = ()
    """Phrases that call the run a failure; they count only where no finding gives a direction."""


@dataclass(frozen=True)
class Peer:
    """One tool."""

    name: str
    """As people call it; also its command."""
    requirement: str
    """What pip installs: a pinned version, with the extra that it needs to read its input."""
    arguments: tuple[str, ...]
    """Between the command and the path of the run."""
    reads: Literal["events", "state"]
    """A directory of event files, or a ``trainer_state.json``."""
    phrases: Phrases
    """How its words are read."""
    texts: Callable[[Any], list[str]]
    """From its JSON document to the text of each finding."""
    judged_with: tuple[int, ...] = (0,)
    """Exit codes of a run that was judged."""
    reading: str = ""
    """How its document is read, where there is more than one way."""

    @property
    def title(self) -> str:
        """Name, version and input, for tables."""
        version = self.requirement.rpartition("==")[2]
        notes = ["event files" if self.reads == "events" else "trainer_state.json", *filter(None, [self.reading])]
        return f"{self.name} {version} ({', '.join(notes)})"


def runmedic_texts(document: Any) -> list[str]:
    """Return title, causes and fixes of each finding."""
    return [
        "\n".join([finding["title"], *finding["likely_causes"], *finding["fixes"]])
        for run in document
        for finding in run["findings"]
    ]


def trainspotter_texts(document: Any) -> list[str]:
    """Return title and fixes of each finding."""
    return ["\n".join([finding["title"], *finding["fixes"]]) for finding in document["findings"]]


def trainspotter_warnings(document: Any) -> list[str]:
    """Return the same without what trainspotter itself calls informational."""
    return trainspotter_texts({"findings": [f for f in document["findings"] if f["severity"] != "info"]})


def finetune_doctor_texts(document: Any) -> list[str]:
    """Return summary and fixes of each finding."""
    return ["\n".join([finding["summary"], *finding["fix"]]) for finding in document["findings"]]


def losslint_texts(document: Any) -> list[str]:
    """Return the message of each finding, which holds its remedy."""
    return [finding["message"] for finding in document["findings"]]


def trainproof_texts(document: Any) -> list[str]:
    """Return level and message of each finding."""
    return [f"{f['level']}: {f['message']}" for report in document["reports"] for f in report["findings"]]


TRAINSPOTTER: Final = Peer(
    "trainspotter",
    "trainspotter[tensorboard]==0.2.6",
    ("analyze", "--output", "json"),
    "events",
    # "Lower the learning rate", "raise the clip threshold, or lower the LR"; "Try a higher LR, an LR-range test".
    Phrases(raises=("try a higher lr",), lowers=("lower the learning rate", "lower the lr"), fails=("diverged",)),
    trainspotter_texts,
)
PEERS: Final = (
    Peer(
        "runmedic",
        "runmedic==0.1.1",
        ("diagnose", "--json"),
        "events",
        # "Use a decaying schedule (cosine or linear) and/or lower the peak LR", "Add LR warmup or lower the peak LR",
        # "Lower the peak learning rate 2-10x"; "Learning rate far too low", "Try a 10x higher learning rate".
        Phrases(
            raises=("learning rate far too low", "higher learning rate"),
            lowers=("lower the peak lr", "lower the peak learning rate"),
            fails=("diverged", "became nan/inf", "not learning"),
        ),
        runmedic_texts,
    ),
    TRAINSPOTTER,
    # Read once more in its favour: nearly every curve ends in a "plateau", an informational finding.
    replace(TRAINSPOTTER, texts=trainspotter_warnings, reading="warnings alone"),
    Peer(
        "finetune-doctor",
        "finetune-doctor==0.2.2",
        ("diagnose", "-f", "json"),
        "state",
        # "The run trained, but the model did not change ... Check the learning rate actually used" names no direction,
        # but whoever follows it raises the rate. Not "a lower learning rate" among the remedies for overfitting, nor
        # "Lowering the learning rate will not help".
        Phrases(
            raises=("the model did not change",),
            lowers=(
                "lower the learning rate",
                "lower the peak learning rate",
                "a lower learning rate, and max_grad_norm",
            ),
            fails=("training loss became nan", "training loss rose", "is not training on"),
        ),
        finetune_doctor_texts,
    ),
    Peer(
        "losslint",
        "losslint==0.4.1",
        ("check", "--format", "json"),
        "state",
        # "consider stopping or raising the LR"; "data shard or LR bug?" is a question, a divergence is only named.
        Phrases(raises=("raising the lr",), fails=("train loss diverged", "nan/inf value")),
        losslint_texts,
        judged_with=(0, 1),
    ),
    Peer(
        "trainproof",
        "trainproof==0.22.0",
        ("doctor", "--json"),
        "events",
        # Names no direction at all.
        Phrases(fails=("fail:",)),
        trainproof_texts,
        judged_with=(0, 1),
    ),
)


def read_answer(peer: Peer, document: Any) -> Answer:
    """Return what all findings of a tool together tell a run."""
    texts = [text.lower() for text in peer.texts(document)]

    def has(phrases: Sequence[str]) -> bool:
        return any(phrase in text for text in texts for phrase in phrases)

    raises, lowers = has(peer.phrases.raises), has(peer.phrases.lowers)
    if raises or lowers:
        return "both" if raises and lowers else "raise" if raises else "lower"
    return "failed" if has(peer.phrases.fails) else "nothing"


def ask(peer: Peer, programs: Path, directory: Path, time_limit: float = TIME_LIMIT) -> Answer:
    """Run a tool on one run.

    Args:
        peer: the tool.
        programs: the directory of its environment that holds the commands.
        directory: holds the event files; ``../state`` beside it holds a ``trainer_state.json`` of the same points.
        time_limit: in seconds.
    """
    target = directory if peer.reads == "events" else directory.parent / "state" / "trainer_state.json"
    # Without PYTHONPATH, so that the tool cannot see this project's packages.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [programs / peer.name, *peer.arguments, target],
            capture_output=True,
            text=True,
            timeout=time_limit,
            env=environment,
            check=False,
        )
        return read_answer(peer, json.loads(done.stdout)) if done.returncode in peer.judged_with else "broken"
    except (subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        return "broken"
