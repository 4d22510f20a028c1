"""What people are told of, and when; as a state machine, and in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftmon.daemon.grouping import MAX_LINES, MAX_PENDING, Group, Grouping, Line
from raftmon.daemon.pace import Backoff, TokenBucket
from raftmon.daemon.wording import document, encode, text_of, title_of
from tests.receivers import finding

HOURS = 4 * 3600.0


def told(grouping: Grouping, now: float, *, arrives: bool = True) -> list[str]:
    """Return the states of what goes out now."""
    group = grouping.take(now)
    if group is None:
        return []
    if arrives:
        grouping.sent(now)
    else:
        grouping.failed(now)
    return [line.happening.state for line in group.lines]


def test_what_arrives_within_the_window_is_one_message() -> None:
    grouping = Grouping(window=10)
    grouping.put(finding(run="a"), 100)
    grouping.put(finding(run="b"), 109)
    assert grouping.due == 110
    assert told(grouping, 109.9) == []
    assert told(grouping, 110) == ["firing", "firing"]
    assert told(grouping, 1000) == []
    assert grouping.due == math.inf


def test_one_that_fires_and_ends_within_the_window_is_one_line() -> None:
    grouping = Grouping()
    grouping.put(finding(), 100)
    grouping.put(finding(state="resolved", at=1_800_000_007.0), 107)
    group = grouping.take(110)
    assert group is not None
    (line,) = group.lines
    assert line.happening.state == "resolved"
    assert "it fired for 7 s" in text_of(group)
    grouping.sent(110)
    assert told(grouping, 10_000) == []


def test_the_same_state_is_not_told_twice_within_hours() -> None:
    grouping = Grouping(window=0)
    grouping.put(finding(), 0)
    assert told(grouping, 0) == ["firing"]
    grouping.put(finding(), 60)
    assert told(grouping, 60) == []


def test_what_flaps_costs_two_messages_and_its_end_one_more() -> None:
    grouping = Grouping(window=10)
    messages = []
    for minute in range(0, 61, 2):
        grouping.put(finding(), minute * 60.0)
        messages += told(grouping, minute * 60.0 + 10)
        if minute < 60:
            grouping.put(finding(state="resolved"), minute * 60.0 + 60)
            messages += told(grouping, minute * 60.0 + 70)
    assert messages == ["firing", "resolved"]
    assert grouping.due == HOURS + 20
    group = grouping.take(HOURS + 20)
    assert group is not None
    assert [(line.happening.state, line.changes) for line in group.lines] == [("firing", 58)]
    assert "it came and went 29 times since" in text_of(group)


def test_a_run_that_began_anew_is_told_again_but_not_each_minute() -> None:
    grouping = Grouping(window=0)
    grouping.put(finding(), 0)
    assert told(grouping, 0) == ["firing"]
    for minute in range(1, 8):
        grouping.put(finding(state="inactive"), minute * 60.0)
        grouping.put(finding(), minute * 60.0 + 1)
        assert told(grouping, minute * 60.0 + 1) == []
    assert told(grouping, 600) == ["firing"]


def test_a_run_whose_steps_went_back_is_another_training() -> None:
    grouping = Grouping(window=0)
    for state, step, now in (("firing", 900, 0), ("resolved", 950, 60), ("firing", 40, 700)):
        grouping.put(finding(state=state, step=step), now)
        assert told(grouping, now) == [state]


def test_what_is_pending_for_a_while_is_no_other_training() -> None:
    grouping = Grouping(window=0)
    for state, step, now, message in (
        ("firing", 900, 0, ["firing"]),
        ("resolved", 950, 60, ["resolved"]),
        ("pending", 960, 70, []),
        ("inactive", 965, 80, []),
        ("firing", 980, 700, []),
    ):
        grouping.put(finding(state=state, step=step), now)
        assert told(grouping, now) == message


def test_what_is_muted_late_or_explained_is_not_told_nor_is_its_end() -> None:
    grouping = Grouping(window=0)
    grouping.put(finding(run="muted"), 0, muted=True)
    grouping.put(finding(run="late", late=True), 0)
    grouping.put(finding(run="explained"), 0)
    grouping.put(finding(run="explained", state="inhibited"), 0)
    grouping.put(finding(kind="verdict", state="too_high"), 0)
    for run in ("muted", "late", "explained"):
        grouping.put(finding(run=run, state="resolved"), 1)
    assert told(grouping, 1) == []


def test_the_end_of_what_an_earlier_process_told_is_told() -> None:
    grouping = Grouping(window=0)
    grouping.put(finding(state="gone"), 0)
    assert told(grouping, 0) == ["gone"]


def test_what_did_not_arrive_goes_with_what_came_since() -> None:
    grouping = Grouping(window=10)
    grouping.put(finding(run="a"), 0)
    assert told(grouping, 10, arrives=False) == ["firing"]
    grouping.put(finding(run="b"), 11)
    grouping.put(finding(run="a", state="resolved"), 12)
    group = grouping.take(25)
    assert group is not None
    assert [(line.happening.name, line.happening.state) for line in group.lines] == [("b", "firing"), ("a", "resolved")]


def test_an_end_that_comes_while_its_beginning_is_under_way_follows_it() -> None:
    grouping = Grouping(window=0)
    grouping.put(finding(), 0)
    assert grouping.take(0) is not None
    grouping.put(finding(state="resolved"), 1)
    grouping.sent(2)
    assert told(grouping, 2) == ["resolved"]


def test_it_is_given_up_in_time_and_said() -> None:
    grouping = Grouping(window=0, give_up_after=3600)
    grouping.put(finding(), 0)
    for now in (0, 1800, 3600):
        assert told(grouping, now, arrives=False) == ["firing"]
    assert told(grouping, 7200) == []
    assert grouping.lost == 1
    grouping.put(finding(run="other"), 7300)
    group = grouping.take(7300)
    assert group is not None
    assert group.lost == 1
    assert "1 earlier findings could not be delivered" in text_of(group)
    grouping.sent(7301)
    assert grouping.lost == 0


def test_ten_thousand_are_one_message_of_bounded_length() -> None:
    grouping = Grouping(window=10)
    for number in range(10_000):
        rule, severity = ("loss-diverges", "high") if number % 10 == 0 else ("plateau", "medium")
        grouping.put(finding(rule, f"run_{number}", severity=severity), 0)
    group = grouping.take(10)
    assert group is not None
    assert len(group.lines) == MAX_LINES
    assert title_of(group) == "raftmon: HIGH: Loss climbs away from its lowest point · run_0 (+9,999 more)"
    text = text_of(group, 2_000)
    assert len(text) <= 2_000
    assert text.startswith("10,000 fire\n  1,000 × loss-diverges (high)\n  9,000 × plateau (medium)\n\n[HIGH] run_0:")
    found = document(group)
    assert (found["total"], found["left_out"], len(found["findings"])) == (10_000, 9_000, 1_000)


def test_more_than_can_wait_are_counted() -> None:
    grouping = Grouping(window=0)
    for number in range(MAX_PENDING + 500):
        grouping.put(finding(run=f"run_{number}"), 0)
    group = grouping.take(0)
    assert group is not None
    assert group.total == MAX_PENDING + 500
    assert grouping.take(0) is None


@pytest.mark.parametrize("most", [60, 250, 4_000])
def test_texts_are_plain_and_bounded(most: int) -> None:
    hostile = finding(run="\x1b[31m" + "x" * 5_000, title="a\nb\x00" * 40, text="\x07y" * 4_000)
    group = Group((Line(hostile, None, 0),), {("loss-diverges", "high", "firing"): 1})
    title, text = title_of(group), text_of(group, most)
    assert len(title) <= 120
    assert len(text) <= most
    assert (title + text.replace("\n", "")).isprintable()


def test_json_is_strict_and_takes_any_path() -> None:
    group = Group((Line(finding(run="caf\udce9", readings={"loss": math.nan}), None, 0),), {})
    encoded = encode(document(group))
    assert b"NaN" not in encoded
    assert b"\\udce9" in encoded


def test_a_bucket_allows_some_at_once_and_then_one_each_so_often() -> None:
    bucket = TokenBucket(3, 60)
    assert [bucket.spend(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(30) == pytest.approx(30)
    assert bucket.spend(60)
    assert not bucket.spend(60)


def test_pauses_double_up_to_a_limit_with_some_chance() -> None:
    least, most = Backoff(2, 60, lambda: 0.0), Backoff(2, 60, lambda: 1.0)
    assert [most.failed() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    assert [least.failed() for _ in range(3)] == [1, 2, 4]
    most.succeeded()
    assert most.failed() == 2


class Telling(RuleBasedStateMachine):
    """Findings come and go, messages arrive or not: what people know is right in the end, and they are told little."""

    def __init__(self) -> None:
        super().__init__()
        self.grouping = Grouping(window=10, repeat_after=1000, give_up_after=math.inf)
        self.now = 0.0
        self.state: dict[str, str] = {}
        self.known: dict[str, str] = {}
        self.times: dict[tuple[str, str], float] = {}
        self.group: Group | None = None

    @rule(run=st.sampled_from("abc"))
    def changes(self, run: str) -> None:
        self.state[run] = "resolved" if self.state.get(run) == "firing" else "firing"
        self.grouping.put(finding(run=run, state=self.state[run]), self.now)

    @rule(run=st.sampled_from("abc"))
    def says_it_again(self, run: str) -> None:
        if run in self.state:
            self.grouping.put(finding(run=run, state=self.state[run]), self.now)

    @rule(seconds=st.sampled_from([1.0, 10.0, 500.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.group is None)
    @rule()
    def goes_out(self) -> None:
        self.group = self.grouping.take(self.now)

    @precondition(lambda self: self.group is not None)
    @rule(arrives=st.booleans())
    def arrives(self, arrives: bool) -> None:
        assert self.group is not None
        if not arrives:
            self.grouping.failed(self.now)
        for line in self.group.lines if arrives else ():
            run, state = line.happening.name, line.happening.state
            assert self.known.get(run) != state
            assert self.now - self.times.get((run, state), -math.inf) >= 1000
            self.known[run], self.times[run, state] = state, self.now
        if arrives:
            self.grouping.sent(self.now)
        self.group = None

    @precondition(lambda self: self.group is None)
    @rule(run=st.sampled_from("ab"))
    def changes_and_all_goes_well(self, run: str) -> None:
        self.changes(run)
        self.now += 10
        self.goes_out()
        if self.group is not None:
            self.arrives(arrives=True)

    @invariant()
    def it_wakes_up_for_all_that_waits(self) -> None:
        if self.group is None and self.grouping.due == math.inf:
            assert all(self.known.get(run) == state for run, state in self.state.items())

    def teardown(self) -> None:
        if self.group is not None:
            self.arrives(arrives=True)
        for _ in range(3):
            self.now += 1010
            self.goes_out()
            if self.group is not None:
                self.arrives(arrives=True)
        assert self.grouping.due == math.inf
        assert self.known == self.state


Telling.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTelling = Telling.TestCase
