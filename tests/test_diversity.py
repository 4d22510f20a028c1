"""Diversity of a cycle's outputs: counts in bounded memory, equal numbers of samples, likeness within prompts."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.campaigns import CampaignJudge
from raftmon.advice.rulebook import load_rules
from raftmon.advice.settings import Settings, Strategy
from raftmon.runs.diversity import DistinctCount, OutputSample, PromptTally, distinct_ngrams
from raftmon.signals.rarefaction import distinct_among, unique_left
from tests.campaign import Campaign, lines


def test_how_often_each_text_came() -> None:
    counted = DistinctCount()
    for text in [b"a", b"b", b"a", b"c", b"a"]:
        counted.add(text)

    assert counted.multiplicities == ((1, 2), (3, 1))
    assert DistinctCount().multiplicities == ()


def test_beyond_the_capacity_the_counts_of_what_is_kept_stay_exact() -> None:
    counted = DistinctCount(capacity=256)
    texts = [str(number).encode() for number in range(2000) for _ in range(3)]
    random.Random(1).shuffle(texts)
    for text in texts:
        counted.add(text)

    ((times, distinct),) = counted.multiplicities
    assert times == 3
    assert distinct == pytest.approx(2000, rel=0.15)


@given(st.lists(st.integers(0, 4), min_size=4, max_size=7), st.integers(1, 4))
def test_distinct_ones_among_fewer_are_the_mean_over_all_choices(outputs: list[int], samples: int) -> None:
    choices = [len(set(choice)) for choice in itertools.combinations(outputs, samples)]
    histogram = [(outputs.count(output), 1) for output in set(outputs)]

    assert distinct_among(histogram, samples) == pytest.approx(sum(choices) / len(choices))


def test_few_accepted_samples_say_nothing() -> None:
    assert unique_left([(1, 29)], [(1, 500)]) is None
    assert unique_left([(1, 30)], [(1, 500)]) == pytest.approx(1.0)


def test_prompts_that_are_alike_and_prompts_that_are_not() -> None:
    generator = random.Random(1)
    alike, apart, blind = PromptTally(), PromptTally(), PromptTally()
    for prompt in range(300):
        hard = generator.random() < 0.5
        for _ in range(8):
            alike.add(str(prompt).encode(), generator.random() < 0.4)
            apart.add(str(prompt).encode(), hard)
        blind.add(str(prompt).encode(), hard)

    assert alike.clustering == pytest.approx(0.0, abs=0.03)
    assert apart.clustering == pytest.approx(1.0)
    assert blind.clustering is None
    assert PromptTally().clustering is None


def test_pairs_of_words() -> None:
    # "a b" has the pairs (begin, a), (a, b), (b, end).
    assert distinct_ngrams(["a b"]) == 1.0
    assert distinct_ngrams(["a b", "a b"]) == 0.5
    assert distinct_ngrams([]) is None


def test_the_sample_of_outputs_is_always_of_one_size() -> None:
    one, other = OutputSample(), OutputSample()
    for number in range(1000):
        if number == 63:
            assert one.distinct is None
        one.add(f"word{number} and")
        other.add(f"word{number} and")

    assert one.distinct == other.distinct is not None
    assert one.distinct == pytest.approx((64 * 2 + 1) / (64 * 3))


def test_the_files_of_a_verifier_tell_spent_diversity_and_what_to_do(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path / "raft")
    for cycle, (distinct, held_out) in enumerate([(300, 120), (290, 125), (80, 100)], start=1):
        answers = [f"w{number % distinct} x{number % distinct % 40}" for number in range(320)]
        judged = [(f"p{n % 26}", answers[n] if n < 320 else "no", n < 320) for n in range(832)]
        campaign.write(f"cycle_{cycle}_verified.jsonl", lines(judged))
        asked = [(f"h{n % 14}", "yes" if n < held_out else "no", n < held_out) for n in range(448)]
        campaign.write(f"cycle_{cycle}_heldout.jsonl", lines(asked))
    judge = CampaignJudge("raft", tmp_path / "raft", load_rules(), Settings(strategy=Strategy(base=1e-4)))

    assert judge.follow([])
    view = judge.view({})

    fired = {finding.rule: finding for finding in view.firing}
    assert set(fired) == {"collapse-near"}
    assert "of the different outputs" in fired["collapse-near"].text
    assert view.next is not None
    assert view.next.stop
    assert view.next.text.startswith("Stop here and ship the checkpoint of cycle 2.")
