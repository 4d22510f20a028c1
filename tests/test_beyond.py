"""Readings that were cut off are told as what they are, and not as measurements."""

from __future__ import annotations

import pytest

from raftmon.advice.findings import filled_in
from raftmon.advice.rulebook import load_rules
from raftmon.grounds import BEYOND, Criterion, beyond
from raftmon.model import Reading
from raftmon.signals.rates import z_of_drop
from raftmon.tui.widgets.evidence_lines import reading_lines
from tests.views import make_evidence, make_finding


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (999.0, "sigma", "over 999"),
        (1e9, "sigma", "over 999"),
        (-999.0, "sigma", "under -999"),
        (998.9, "sigma", ""),
        (999.0, "points", ""),
        (float("nan"), "sigma", ""),
    ],
)
def test_only_what_is_cut_off_is_said_in_words(value: float, unit: str, words: str) -> None:
    assert beyond(value, unit) == words


def test_the_sheet_says_over_and_that_once_is_enough() -> None:
    criteria = (Criterion(0, None, "loss.drawup_sigma", "rise", True, 6.0, -BEYOND, "sigma"),)
    readings = (Reading("loss.drawup_sigma", BEYOND, "sigma"),)
    founded = make_finding(readings=readings, evidence=make_evidence(criteria=criteria))
    first = reading_lines(founded, 100)[1].plain
    assert first.strip() == "✓ loss.drawup_sigma over 999  wanted above 6 sigma, once is enough"
    bare = [line.plain.split() for line in reading_lines(make_finding(readings=readings), 100)]
    assert ["loss.drawup_sigma", "over", "999", "sigma"] in bare


def test_the_text_of_an_advice_says_it_too_in_any_format() -> None:
    rule = load_rules()[0]
    text = "{loss.drawup_sigma:.1f} and {loss.drawup:.1f}"
    assert filled_in(text, rule, {"loss.drawup_sigma": BEYOND, "loss.drawup": BEYOND}) == "over 999 and 999.0"
    assert filled_in(text, rule, {"loss.drawup_sigma": 4.0, "loss.drawup": 2.0}) == "4.0 and 2.0"


def test_what_cannot_be_measured_is_cut_off_and_stays_so() -> None:
    assert z_of_drop(0.1, 0.0) == BEYOND
    assert z_of_drop(-0.1, 0.0) == -BEYOND
    assert z_of_drop(0.1, 1e-9) == BEYOND
    assert z_of_drop(0.1, 0.05) == 2.0
    assert beyond(z_of_drop(0.1, 0.0), "sigma") == "over 999"
