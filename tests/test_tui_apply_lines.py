"""What the sheet says about a write, line by line."""

from __future__ import annotations

from dataclasses import replace

from raftmon.errors import Refused
from raftmon.override import Override, difference
from raftmon.tui.apply_pages import ApplyPages
from raftmon.tui.widgets.apply_panel import back_lines, diff_lines, grounds_of, proposal_lines, trouble_lines
from tests import snapshots
from tests.apply_session import UNDONE, FakeChanger, override


def proposed(made: Override, *, stop: bool = False, back: int | None = None) -> str:
    campaign = snapshots.raft_campaign()
    assert campaign.next is not None
    advised = replace(campaign.next, cycle=5, stop=stop, roll_back_to=back)
    return "\n".join(line.plain for line in proposal_lines(made, {}, advised, 120))


def test_what_the_overview_advises_beyond_the_number_is_said() -> None:
    assert "! The advice is to stop and to ship the checkpoint of cycle 3" in proposed(override(), stop=True, back=3)
    assert "! The advice is to stop and to ship the newest checkpoint" in proposed(override(), stop=True)
    assert "! The advice is to begin with the base model" in proposed(override(), back=0)
    assert "! The advice" not in proposed(override())
    assert "! The advice" not in proposed(override(roll_back_to=3), back=3)
    assert "! The advice" not in proposed(override(cycle=6), stop=True)
    assert "↩ begin with the checkpoint of cycle 3: that is yours to do" in proposed(override(roll_back_to=3), back=3)


def test_a_stop_and_a_number_of_its_own() -> None:
    assert "■ STOP, ship cycle 3" in proposed(override(stop=True))
    assert "the campaign should end here" in proposed(override(stop=True))
    assert "to write: 2.17e-5, of which the trainer makes 1.84e-5" in proposed(override(written=2.17e-5))
    assert "right as it is" in proposed(override(changed=False, diff=""))
    assert "only rules of status test or stable move" in proposed(override(authority="test"))


def test_the_evidence_of_a_rule_stands_beside_its_step() -> None:
    run = snapshots.live_cycle()
    grounds = grounds_of(run, None)
    lines = [line.plain for line in proposal_lines(override(), grounds, None, 120)]
    at = next(index for index, line in enumerate(lines) if "loss-draws-up × 0.6" in line)
    assert lines[at + 1].split(" · ")[0].strip() == f"{grounds['loss-draws-up'].status} rule"
    assert "grade B" in lines[at + 1]
    assert "precision 0.92" in lines[at + 1]


def test_a_diff_keeps_signs_indentation_and_long_lines() -> None:
    before = b"training:\n    learning_rate: 5.0e-05  " + b"x" * 40 + b"\n"
    lines = diff_lines(difference(before, before.replace(b"5.0", b"3.61"), "raft.yaml"), 40)
    plain = [line.plain for line in lines]
    assert all(len(line) <= 40 for line in plain)
    assert plain[1] == "   training:"
    assert plain[2].startswith("  -    learning_rate: 5.0e-05")
    assert "".join(line.strip() for line in plain[2:4]).endswith("x" * 40)


def test_nothing_in_a_config_reaches_the_terminal_or_is_markup() -> None:
    diff = difference(b"a: 1\n", b"a: \x1b]0;x\x07[bold]2\n", "raft.yaml")
    made = override(diff=diff, config="\x1b[31mraft.yaml", text="[red]x")
    lines = [*proposal_lines(made, {}, None, 80), *back_lines(replace(UNDONE, diff=diff), "[b]j", 80, done=True)]
    text = "\n".join(line.plain for line in lines)
    assert "\x1b" not in text
    assert "[bold]2" in text
    assert "[b]j" in text


def test_an_error_without_words_is_a_sentence_too() -> None:
    assert "ValueError: an error without words" in trouble_lines(ValueError(), 80)[0].plain
    assert len(trouble_lines(Refused("here", "broken", ""), 80)) == 1


def test_a_schedule_that_is_taken_back_is_called_so() -> None:
    changer = FakeChanger()
    changer.past = replace(UNDONE, cycle=None)
    page = ApplyPages(changer, {}).look_back()
    assert "the schedule" in page.build(80)[0].plain
