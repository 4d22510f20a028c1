"""Verdicts: what the verifier's files say while they are written."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftmon.runs.campaign_files import CampaignEvidence
from raftmon.runs.verified import SETTLE_SECONDS, DistinctCount
from tests.campaign import Campaign, lines, rows


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "raft")


def test_verdicts_are_tallied(campaign: Campaign) -> None:
    campaign.write("cycle_2_verified.jsonl", lines(rows(passed=85, failed=43, distinct=17)))
    campaign.write("cycle_1_verified.jsonl", lines(rows(passed=41, failed=87)))

    cycles = campaign.poll().cycles

    assert list(cycles) == [1, 2]
    assert (cycles[1].verified, cycles[1].passed, cycles[1].rate) == (128, 41, 41 / 128)
    assert (cycles[1].unique_fraction, cycles[1].mean_length, cycles[1].kept) == (1.0, 10.0, None)
    assert (cycles[2].rate, cycles[2].unique_fraction) == (85 / 128, 17 / 85)
    assert (cycles[2].measures, cycles[2].held_out, cycles[2].source) == ("before", False, "cycle_2_verified.jsonl")
    assert cycles[1].prompts == cycles[2].prompts is not None
    assert cycles[1].prompt_count == 16


def test_what_the_accepted_outputs_look_like(campaign: Campaign) -> None:
    accepted = ["a b", "a b", "a cc", *[f"w{number} b" for number in range(61)]]
    judged = [(f"p{index % 8}", text, True) for index, text in enumerate(accepted)]
    campaign.write("cycle_1_verified.jsonl", lines([*judged, ("p9", "no", False), ("p9", "no", False)]))

    cycle = campaign.poll().cycles[1]

    assert cycle.outputs == ((1, 62), (2, 1))
    # 64 begin, 63 end with "b": the pairs are 62 beginnings, 63 middles and two ends.
    assert cycle.distinct == (62 + 63 + 2) / (64 * 3)
    assert cycle.length_variation is not None
    assert 0.0 < cycle.length_variation < 0.2
    assert cycle.clustering == pytest.approx(1.0)


def test_held_out_verdicts_are_kept_apart_and_measure_the_model_that_left_the_cycle(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(30, 10)))
    campaign.write("cycle_1_heldout.jsonl", lines(rows(6, 14)))
    campaign.write("cycle_0_heldout.jsonl", lines(rows(5, 15)))

    evidence = campaign.poll()

    assert [evidence.cycles[1].rate, evidence.held_out[0].rate, evidence.held_out[1].rate] == [0.75, 0.25, 0.3]
    assert list(evidence.cycles) == [1]
    assert (evidence.held_out[1].measures, evidence.held_out[1].held_out) == ("after", True)
    assert evidence.held_out[1].prompts != evidence.cycles[1].prompts


def test_a_growing_file_is_read_once_and_a_torn_line_waits(campaign: Campaign) -> None:
    content = lines(rows(3, 1))
    campaign.write("cycle_1_verified.jsonl", content[:-20])
    half = campaign.poll().cycles[1]
    # halo-forge writes the best first: the three whole lines alone would say 100 %.
    assert (half.rate, half.verified) == (None, None)

    campaign.append("cycle_1_verified.jsonl", content[-20:], at=1)
    assert campaign.poll().cycles[1].rate == 0.75
    read, opened = campaign.opener.read, len(campaign.opener.opened)
    assert campaign.poll().cycles[1].rate == 0.75
    assert len(campaign.opener.opened) == opened

    more = lines(rows(0, 4))
    campaign.append("cycle_1_verified.jsonl", more, at=2)
    assert campaign.poll().cycles[1].rate == 3 / 8
    assert campaign.opener.read - read <= len(more) + 256


def test_a_line_torn_for_good_no_longer_hides_the_rest(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(3, 1)) + b'{"prompt": "pro')
    campaign.now = SETTLE_SECONDS
    assert campaign.poll().cycles[1].rate is None
    campaign.now = SETTLE_SECONDS + 1
    assert campaign.poll().cycles[1].rate == 0.75


def test_a_last_line_without_end_counts_when_it_is_whole(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(1, 1)).rstrip(b"\n"))
    assert campaign.poll().cycles[1].verified == 2
    campaign.append("cycle_1_verified.jsonl", b"\n" + lines(rows(1, 0)), at=1)
    assert campaign.poll().cycles[1].verified == 3
    assert campaign.problems == []


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_written_anew_is_read_anew(campaign: Campaign, longer: bool) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(4, 4)))
    assert campaign.poll().cycles[1].rate == 0.5
    campaign.write("cycle_1_verified.jsonl", lines(rows(1, 15 if longer else 3)), at=1)
    assert campaign.poll().cycles[1].rate == (1 / 16 if longer else 1 / 4)
    (campaign.path / "cycle_1_verified.jsonl").unlink()
    assert campaign.poll() == CampaignEvidence()


def test_a_budget_spreads_a_large_file_over_polls(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, budget=4000)
    campaign.write("cycle_1_verified.jsonl", lines(rows(60, 20)))
    campaign.write("cycle_2_verified.jsonl", lines(rows(20, 60)))

    polls = [campaign.poll()]
    while polls[-1].more and len(polls) < 20:
        before = campaign.opener.read
        polls.append(campaign.poll())
        assert campaign.opener.read - before < 4000 + 600

    assert 3 < len(polls) < 20
    assert [polls[0].cycles[cycle].rate for cycle in (1, 2)] == [None, None]
    assert [polls[-1].cycles[cycle].rate for cycle in (1, 2)] == [0.75, 0.25]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.lists(st.integers(0, 4000), max_size=8))
def test_however_a_file_arrives_its_tally_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[bool], cuts: list[int]
) -> None:
    campaign = Campaign(tmp_path_factory.mktemp("raft"))
    content = lines((f"p{n % 5}", f"c{n % 3}", success) for n, success in enumerate(verdicts))
    campaign.write("cycle_1_heldout.jsonl", b"")
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    for time, (start, end) in enumerate(itertools.pairwise(places), start=1):
        campaign.append("cycle_1_heldout.jsonl", content[start:end], at=time)
        found = campaign.poll().held_out[1]

    assert (found.verified or 0, found.passed or 0) == (len(verdicts), sum(verdicts))
    accepted = {n % 3 for n, success in enumerate(verdicts) if success}
    assert found.unique_fraction == (len(accepted) / sum(verdicts) if any(verdicts) else None)
    assert campaign.problems == []


def test_lines_that_are_no_verdict_are_counted_once_as_one_problem(campaign: Campaign) -> None:
    good = lines(rows(1, 0))
    campaign.write(
        "cycle_1_verified.jsonl",
        good
        + b"\n[1]\n"
        + good
        + b'{"prompt": "p", "reward": 1.0}\n{"success": "yes"}\n\xff\xfe\n'
        + b"{" * 9999
        + b"\n",
    )
    campaign.write("cycle_2_verified.jsonl", b"")
    assert campaign.poll().cycles[1].verified == 2
    assert campaign.poll().cycles[2].rate is None
    (problem,) = campaign.problems
    assert problem.where == f"{campaign.path}/cycle_1_verified.jsonl:3"
    assert problem.what.startswith("5 lines are no JSON object with `success`")


def test_lines_of_other_writers(campaign: Campaign) -> None:
    campaign.write(
        "cycle_1_verified.jsonl",
        b'{"success": 1, "completion": "two\\nlines\\u00e9", "reward": NaN}\n'
        b'{"success": true, "completion": [{"role": "assistant"}], "prompt": [{"role": "user"}]}\n'
        b'{"success": 0.0}\n{"success": true}\r\n',
    )
    cycle = campaign.poll().cycles[1]
    assert (cycle.verified, cycle.passed, cycle.unique_fraction, cycle.prompt_count) == (4, 3, 1.0, 1)
    assert cycle.mean_length == (10 + len('[{"role": "assistant"}]')) / 2

    campaign.write("cycle_2_verified.jsonl", b'{"success": true}\n{"success": false}\n')
    bare = campaign.poll().cycles[2]
    assert (bare.rate, bare.unique_fraction, bare.mean_length, bare.prompts) == (0.5, None, None, None)
    assert campaign.problems == []


def test_distinct_texts_are_counted_exactly_and_then_estimated() -> None:
    count, again = DistinctCount(capacity=256), DistinctCount(capacity=256)
    assert (count.count, count.digest) == (0, None)
    for n in range(256):
        count.add(b"%d" % n)
        again.add(b"%d" % (255 - n))
        again.add(b"%d" % (255 - n))
    assert (count.count, again.count) == (256, 256)
    assert count.digest == again.digest
    for n in range(256, 20_000):
        count.add(b"%d" % n)
        count.add(b"%d" % (n % 500))
    assert count.count == pytest.approx(20_000, rel=4 / 254**0.5)
    assert count.digest != again.digest


def test_a_file_that_cannot_be_read_is_a_problem_until_it_can(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(1, 3)))
    campaign.opener.broken = {"cycle_1_verified.jsonl"}
    assert campaign.poll().cycles[1].rate is None
    assert [problem.what for problem in campaign.problems] == ["cannot be read: Permission denied"]

    campaign.opener.broken = set()
    assert campaign.poll().cycles[1].rate == 0.25
    assert campaign.problems == []


def test_a_line_too_long_to_hold_is_left_out_and_what_follows_it_is_not(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, budget=64 << 20)
    giant = b'{"success": true, "completion": "' + b"y" * (17 << 20)
    campaign.write("cycle_1_verified.jsonl", lines(rows(1, 0)) + giant)
    assert campaign.poll().cycles[1].rate is None

    campaign.append("cycle_1_verified.jsonl", b'"}\n' + lines(rows(0, 1)), at=1)
    read = campaign.opener.read
    cycle = campaign.poll().cycles[1]

    assert (cycle.verified, cycle.passed) == (2, 1)
    assert campaign.opener.read - read < 1000
    assert [problem.what.split(";")[0] for problem in campaign.problems] == [
        "1 line is no JSON object with `success` true or false"
    ]
