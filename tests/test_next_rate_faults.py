"""What raftmon says beside the number, what it does when it has none, and which questions it refuses."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

import pytest

from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import DocumentErrors, RaftmonError, UsageError
from raftmon.journal import Journal
from raftmon.override import Override
from raftmon.torch import StopCampaign, next_learning_rate
from tests.loop import BEGAN
from tests.obedient import HOUR, PASSED, Obedient
from tests.scripted import scalar_record


@pytest.fixture
def obedient(tmp_path: Path) -> Obedient:
    return Obedient(tmp_path)


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
