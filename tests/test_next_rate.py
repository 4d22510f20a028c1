"""A loop that obeys the number: told what it would read from a file that raftmon writes, and never ended by raftmon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import UsageError
from raftmon.hook import pre_cycle, undo
from raftmon.journal import Journal
from raftmon.torch import next_learning_rate
from tests.halo_forge import DECAY, FLOOR, config_text, used_rate
from tests.loop import CONFIG, Loop
from tests.obedient import PASSED, Obedient


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


def test_before_the_first_cycle_the_config_or_the_strategy_says_it(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert Obedient(tmp_path / "new").ask(1) == 5e-5
    exponential = Settings(strategy=Strategy("exponential", base=3e-5))
    assert Obedient(tmp_path / "own").ask(1, settings=exponential) == 3e-5


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
