"""A loop that obeys the number: told what it would read from a file that raftmon writes, and never ended by raftmon."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import DocumentErrors, RaftmonError, UsageError
from raftmon.hook import pre_cycle, undo
from raftmon.journal import Journal
from raftmon.override import Override
from raftmon.torch import StopCampaign, next_learning_rate
from tests.halo_forge import DECAY, FLOOR, config_text, used_rate
from tests.loop import BEGAN, CONFIG, Loop
from tests.scripted import scalar_record

HOUR: Final = 3600.0
PASSED: Final = (400, 420, 430, 150, 430, 440, 435, 440)
"""Of 1000 samples, judged at the start of cycles 1 to 8: cycle 3 did harm, which is seen in cycle 4."""


class Obedient:
    """A campaign whose cycles train at whatever they are told; its config is read by raftmon alone."""

    def __init__(self, directory: Path, text: str = CONFIG, **options: Any) -> None:
        self.loop = Loop(directory, text)
        self.options = {"authority": "test", **options}
        self.heard: list[Override] = []

    def journal(self, cycle: int) -> Journal:
        """Return the journal as it is used just before a cycle begins."""
        return Journal(self.loop.journal, clock=lambda: BEGAN + HOUR * (cycle - 1) - 60.0)

    def ask(self, cycle: int, **options: Any) -> float:
        return next_learning_rate(
            self.loop.campaign,
            self.loop.config,
            cycle,
            **{"journal": self.journal(cycle), "tell": self.heard.append, **self.options, **options},
        )

    def follow(self, passed: tuple[int, ...] = PASSED) -> Iterator[float]:
        """Train cycle by cycle, each at what it was told after its samples were judged."""
        for cycle, right in enumerate(passed, start=1):
            self.judge(cycle, right)
            rate = self.ask(cycle)
            self.loop.train(cycle, rate, right)
            yield rate

    def judge(self, cycle: int, passed: int) -> None:
        """Write the verdicts of a cycle alone: its training has not begun."""
        self.loop.train(cycle, passed=passed)
        for file in (self.loop.campaign / f"cycle_{cycle}").rglob("events*"):
            file.unlink()


def written_rates(directory: Path, text: str, settings: Settings | None) -> Iterator[float]:
    """Train the same campaign at what halo-forge makes of its config, which raftmon writes."""
    beside = Obedient(directory, text)
    loop = beside.loop
    for cycle, passed in enumerate(PASSED, start=1):
        beside.judge(cycle, passed)
        override = pre_cycle(
            loop.config,
            loop.campaign,
            cycle,
            apply=True,
            settings=settings,
            authority="test",
            journal=beside.journal(cycle),
            processes=list,
        )
        assert override.refused is None
        loop.written_at(cycle)
        rate = used_rate(loop.config, cycle)
        loop.train(cycle, rate, passed)
        yield rate


@pytest.fixture
def obedient(tmp_path: Path) -> Obedient:
    return Obedient(tmp_path)


@dataclass
class RAFTConfig:
    """halo-forge's, as far as the learning rate goes: raft_trainer.py 64-136 at commit c8f6548."""

    output_dir: str = "models/raft"
    num_cycles: int = 3
    learning_rate: float = 5e-5
    lr_decay_per_cycle: float = DECAY
    min_lr: float = FLOOR

    def get_learning_rate_for_cycle(self, cycle: int) -> float:
        lr = self.learning_rate * (self.lr_decay_per_cycle ** (cycle - 1))
        return max(lr, self.min_lr)


@pytest.mark.parametrize("strategy", [None, Strategy("constant", base=4e-5), Strategy("exponential", base=5e-5)])
def test_it_tells_what_halo_forge_would_read_from_a_file_that_is_written(
    tmp_path: Path, strategy: Strategy | None
) -> None:
    settings = Settings(strategy=strategy) if strategy is not None else None
    text = config_text("5.0e-05")
    told = Obedient(tmp_path / "told", text, settings=settings)

    rates = list(told.follow())

    assert rates == pytest.approx(list(written_rates(tmp_path / "written", text, settings)), rel=1e-3)
    assert told.loop.config.read_text() == text
    planned = {"constant": 4e-5, "exponential": 5e-5 * DECAY**2}.get(strategy.kind if strategy else "", 5e-5 * DECAY**2)
    assert rates[2] == pytest.approx(planned, rel=0.02)
    assert rates[3] < 0.5 * rates[2]
    # What was lowered stays low, though nothing in the file says so.
    assert max(rates[4:]) <= rates[3] * 1.001
    assert [heard.roll_back_to for heard in told.heard] == [None, None, None, 2, None, None, None, None]


def test_halo_forge_is_overridden_in_a_subclass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As its trainer asks: first for the last cycle, to print it, then for each once its samples are judged."""
    text = config_text("5.0e-05")
    campaign = Obedient(tmp_path / "told", text)
    loop = campaign.loop

    class Followed(RAFTConfig):
        def get_learning_rate_for_cycle(self, cycle: int) -> float:
            own = super().get_learning_rate_for_cycle(cycle)
            return next_learning_rate(
                self.output_dir,
                loop.config,
                cycle,
                default=own,
                authority="test",
                journal=campaign.journal(min(now, cycle)),
            )

    now, rates = 1, []
    config = Followed(output_dir=str(loop.campaign), num_cycles=len(PASSED))
    assert config.get_learning_rate_for_cycle(config.num_cycles) == pytest.approx(5e-5 * DECAY**7)
    assert "no cycles of a campaign here" in caplog.text
    for now, passed in enumerate(PASSED, start=1):
        campaign.judge(now, passed)
        rates.append(config.get_learning_rate_for_cycle(now))
        loop.train(now, rates[-1], passed)

    assert rates == pytest.approx(list(written_rates(tmp_path / "written", text, None)), rel=1e-3)
    assert "start from the checkpoint of cycle 2" in caplog.text


def test_the_same_cycle_is_told_the_same(obedient: Obedient) -> None:
    for _ in obedient.follow(PASSED[:3]):
        pass
    obedient.judge(4, PASSED[3])
    first = obedient.ask(4)
    assert first < 2e-5
    assert obedient.ask(4) == first
    # Begun, broken off, begun again.
    obedient.loop.train(4, first, PASSED[3])
    assert obedient.ask(4) == first
    assert obedient.heard[-1].roll_back_to == 2


def test_a_look_ahead_is_not_remembered(obedient: Obedient) -> None:
    for _ in obedient.follow(PASSED[:3]):
        pass
    obedient.judge(4, PASSED[3])
    ahead = obedient.ask(6)
    assert (obedient.heard[-1].noted, obedient.heard[-1].roll_back_to) == (False, 2)
    assert [entry.cycle for entry in Journal(obedient.loop.journal).entries()] == [1, 2, 3]
    assert obedient.ask(4) == ahead
    assert (obedient.heard[-1].noted, obedient.heard[-1].roll_back_to) == (True, 2)


def test_a_rate_that_a_person_wrote_since_counts_more(obedient: Obedient) -> None:
    rates = list(obedient.follow(PASSED[:5]))
    assert rates[4] == pytest.approx(5e-6)
    obedient.loop.config.write_text(CONFIG.replace("5.0e-05", "3.0e-05"))
    assert obedient.ask(6) == pytest.approx(3e-5)


def test_another_line_edited_since_changes_nothing(obedient: Obedient) -> None:
    rates = list(obedient.follow(PASSED[:5]))
    obedient.loop.config.write_text(CONFIG + "seed: 7\n")
    assert obedient.ask(6) == rates[4]


def test_a_cycle_that_did_not_obey_is_noticed(obedient: Obedient) -> None:
    assert [*obedient.follow(PASSED[:2])] == [5e-5, 5e-5]
    obedient.ask(3)
    obedient.loop.train(3, 2e-5, 430)
    obedient.judge(4, 430)
    assert obedient.ask(4) == 2e-5
    assert "cycle 3 ran at 2.0e-05, whatever it was told (5.0e-05)" in obedient.heard[-1].because[0].text


def test_what_was_told_is_where_a_write_goes_on(obedient: Obedient) -> None:
    rates = list(obedient.follow(PASSED[:5]))
    loop = obedient.loop
    override = pre_cycle(
        loop.config, loop.campaign, 6, apply=True, authority="test", journal=obedient.journal(6), processes=list
    )
    assert (override.learning_rate, override.changed, override.noted) == (rates[4], True, False)
    undo(loop.config, loop.journal)
    assert loop.config.read_text() == CONFIG


def test_a_number_that_no_file_could_hold_is_told_all_the_same(tmp_path: Path) -> None:
    text = CONFIG.replace("5.0e-05", "${rate}")
    told = Obedient(tmp_path, text, settings=Settings(strategy=Strategy("constant", base=4e-5)))
    rates = list(told.follow(PASSED[:6]))
    assert rates[:3] == [4e-5] * 3
    assert rates[3] < 2e-5
    assert rates[5] == rates[3]
    assert "the number is told all the same" in told.heard[-1].remarks[0]
    assert told.loop.config.read_text() == text


def test_advice_that_people_must_see_is_a_warning(obedient: Obedient, caplog: pytest.LogCaptureFixture) -> None:
    for _ in obedient.follow(PASSED[:3]):
        pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    obedient.judge(4, PASSED[3])
    obedient.ask(4, authority="stable")
    assert "cycle-much-worse asks for" in caplog.records[-1].message
    assert "authority test lets it act" in caplog.records[-1].message
    obedient.ask(4)
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "start from the checkpoint of cycle 2" in told[-1]


def test_what_a_probe_asks_for_in_vain_is_a_warning(obedient: Obedient, caplog: pytest.LogCaptureFixture) -> None:
    for _ in obedient.follow(PASSED[:2]):
        pass
    begin = BEGAN + HOUR
    rows = [scalar_record("raftmon/rho", 0.3, step, begin + step) for step in range(2, 17, 2)]
    (obedient.loop.campaign / "cycle_2" / "logs" / "events.out.tfevents.2").write_bytes(b"".join(rows))
    assert obedient.ask(3, authority="stable") == 5e-5
    (warning,) = (record.message for record in caplog.records if record.levelno >= logging.WARNING)
    assert "rho 0.30" in warning
    assert warning.endswith("authority test lets it act")
    assert obedient.ask(3, authority="test") < 5e-5


def test_a_stop_is_said_and_raised_on_demand(obedient: Obedient, caplog: pytest.LogCaptureFixture) -> None:
    for cycle, passed in enumerate((400, 420, 420, 200, 100, 60), start=1):
        obedient.loop.train(cycle, passed=passed)
    assert obedient.ask(7) > 0.0
    assert obedient.heard[-1].stop
    assert "Stop here and ship the checkpoint of cycle" in caplog.text
    with pytest.raises(StopCampaign, match="Stop here and ship") as raised:
        obedient.ask(7, raise_on_stop=True)
    assert raised.value.override.stop
    # A stop is no number to go on from.
    assert Journal(obedient.loop.journal).entries() == []


def test_before_the_first_cycle_the_config_or_the_strategy_says_it(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert Obedient(tmp_path / "new").ask(1) == 5e-5
    exponential = Settings(strategy=Strategy("exponential", base=3e-5))
    assert Obedient(tmp_path / "own").ask(1, settings=exponential) == 3e-5


def test_with_nothing_to_read_it_goes_on(obedient: Obedient, caplog: pytest.LogCaptureFixture) -> None:
    assert obedient.ask(2) == 5e-5
    assert "no cycles of a campaign here" in caplog.text
    assert "Cycle 2 goes on at 5.0e-05, as the config says." in caplog.text
    assert obedient.ask(2, default=7e-5) == 7e-5
    obedient.loop.config.write_text("model: tiny\n")
    assert obedient.ask(2, default=7e-5) == 7e-5
    with pytest.raises(UsageError, match=r"nor from raftmon \(.*no cycles.*\)\n  Give `default`"):
        obedient.ask(2)


def test_a_fault_of_raftmon_ends_no_training(
    obedient: Obedient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rates = list(obedient.follow(PASSED[:5]))
    caplog.clear()

    def broken(*arguments: object, **options: object) -> Override:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("raftmon.torch.answers.pre_cycle", broken)
    # The full rate again would undo what the evidence asked for.
    assert obedient.ask(6, default=5e-5) == rates[4]
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert (
        record.message == "raftmon failed (ZeroDivisionError: a fault); cycle 6 goes on at 5.0e-06, as it said before."
    )
    assert obedient.ask(9, default=5e-5) == 5e-5


def test_without_a_journal_the_number_is_told_and_the_trouble_said(
    obedient: Obedient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "damaged.sqlite3"
    damaged.write_bytes(b"no database" * 100)
    obedient.judge(1, 400)
    assert obedient.ask(1, journal=damaged) == 5e-5
    assert "not remembered for the next cycle" in caplog.text
    assert not obedient.heard[-1].noted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"authority": "all"}, "authority is 'all'\n  Give one of .*stable"),
        ({"default": 0.0}, "default is 0.0\n  Give a number above 0"),
        ({"default": float("nan")}, "default is nan"),
        ({"default": "1e-5"}, "default is '1e-5'"),
        ({"settings": "missing.yaml"}, "missing.yaml"),
        ({"settings": 3}, "settings is 3"),
        ({"journal": 3}, "journal is 3\n  Give a path"),
        ({"key": 3}, "key is 3\n  Give a dotted path"),
        ({"tell": "print"}, "tell is a str, which cannot be called"),
    ],
)
def test_what_cannot_be_meant_is_said(obedient: Obedient, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, DocumentErrors), match=said):
        obedient.ask(1, **arguments)


@pytest.mark.parametrize("cycle", [0, -1, 10_000, "3", 1.5, True, None])
def test_a_cycle_that_is_none_is_refused(obedient: Obedient, cycle: Any) -> None:
    journal = Journal(obedient.loop.journal)
    with pytest.raises(UsageError, match=r"next_learning_rate\(cycle\): cycle is .*\n  Give a whole number from 1 to"):
        next_learning_rate(obedient.loop.campaign, obedient.loop.config, cycle, default=1e-5, journal=journal)


def test_a_place_that_is_none_is_refused(obedient: Obedient) -> None:
    for logdir, config in ((None, obedient.loop.config), (obedient.loop.campaign, None), ("", obedient.loop.config)):
        with pytest.raises(UsageError, match="Give a path"):
            next_learning_rate(logdir, config, 1, default=1e-5)  # type: ignore[arg-type]
    obedient.loop.config.unlink()
    with pytest.raises(RaftmonError, match=r"raft\.yaml"):
        obedient.ask(1)


BROKEN: Final = {
    "a: [1\n": r"raft\.yaml:2:1: not valid YAML: .*\. Mend the file at this place\.",
    "": r"raft\.yaml:1:1: the document is no mapping\. Give the trainer's config",
    "learning_rate: 1e-5\nlearning_rate: 2e-5\n": r"raft\.yaml:2:1: `learning_rate` is given twice; .* Keep one",
    "model: tiny\n": r"raft\.yaml: no key of a learning rate .*\. Give its dotted path",
}


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("strategy", [None, Strategy("constant", base=5e-5)])
def test_a_broken_config_is_a_warning(
    obedient: Obedient, caplog: pytest.LogCaptureFixture, text: str, strategy: Strategy | None
) -> None:
    for _ in obedient.follow(PASSED[:2]):
        pass
    obedient.loop.config.write_text(text)
    caplog.set_level(logging.INFO, "raftmon.torch")
    assert obedient.ask(3, settings=Settings(strategy=strategy) if strategy else None) == 5e-5

    (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert re.search(BROKEN[text], warning)
    assert warning.endswith("Cycle 3 goes on at 5.0e-05.")
    assert ("strategy:constant" in caplog.text) == (strategy is not None)
    assert ("in force, as the config gives none: 5.0e-05" in caplog.text) == (strategy is None)
    assert obedient.heard[-1].noted


def test_a_config_whose_number_stands_elsewhere_is_a_warning_where_nobody_chose_a_strategy(
    obedient: Obedient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in obedient.follow(PASSED[:2]):
        pass
    obedient.loop.config.write_text("learning_rate: ${rate}\n")
    obedient.ask(3, settings=Settings(strategy=Strategy("constant", base=5e-5)))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    obedient.ask(3)
    assert "the number stands elsewhere. Give the key that holds the number" in caplog.text


def test_a_number_is_obeyed_or_written(obedient: Obedient) -> None:
    with pytest.raises(UsageError, match="either the file holds the number or the caller does"):
        pre_cycle(obedient.loop.config, obedient.loop.campaign, 1, apply=True, obeyed=True)


def test_it_needs_no_torch(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.train(1)
    code = (
        "import sys; import raftmon.torch; from raftmon.torch import next_learning_rate\n"
        f"print(next_learning_rate({str(loop.campaign)!r}, {str(loop.config)!r}, 2, journal={str(loop.journal)!r}))\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    rate, modules = done.stdout.splitlines()
    assert float(rate) == 5e-5
    assert "raftmon.torch.next_rate" in modules.split()
    assert {"torch", "transformers", "lightning", "textual"} & set(modules.split()) == set()
    assert done.stderr == ""
