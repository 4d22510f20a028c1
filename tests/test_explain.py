"""`raftmon rules show`: pages that fit their width, documents that say all, nothing read as markup."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from raftmon.advice.evidence import summed_up
from raftmon.advice.rule import Parameter, Rule
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.errors import UsageError
from raftmon.grounds import Measured
from raftmon.headless.document import encode, snapshot_document
from raftmon.headless.explain import print_rule
from raftmon.headless.explain_verdict import print_verdict
from raftmon.headless.report import make_console, print_report
from raftmon.headless.rules import VERDICT, print_explanation
from raftmon.model import Finding
from raftmon.monitor import Monitor
from tests import snapshots
from tests.test_engine import make_rule

RULES = load_rules()
HEADINGS = (
    "What it means",
    "When it fires",
    "What it points to, and what it may do",
    "What it says",
    "What else it could be",
    "What would change its mind",
    "How it is founded",
)


def page_of(rule: Rule, width: int, *, terminal: bool = False) -> str:
    file = io.StringIO()
    print_rule(rule, RULES, Console(file=file, width=width, highlight=False, force_terminal=terminal))
    return file.getvalue()


def explained(rule_id: str, form: str = "text") -> str:
    file = io.StringIO()
    print_explanation(rule_id, form, make_console(file))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 100, 160])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_fits_its_width_and_says_all(rule: Rule, width: int) -> None:
    page = page_of(rule, width)
    lines = page.splitlines()

    assert max(len(line) for line in lines) <= min(width, 100)
    assert lines[0] == rule.title
    assert [line for line in lines if line in HEADINGS] == list(HEADINGS)
    words = " ".join(page.split())
    for told in (*rule.false_positives, *rule.would_change, *(p.origin for p in rule.parameters.values())):
        assert all(word in words for word in told.split())
    for comparison in rule.when.comparisons():
        assert f"{comparison.signal} {'above' if comparison.above else 'below'} {comparison.limit:g}" in words


def test_a_page_says_what_it_may_do_and_how_right_it_was() -> None:
    founded = Measured(240, 0.92, 0.6, "recorded trainings", 36, 55, (0.78, 0.97), (0.47, 0.72))
    rule = make_rule(status="test", multiply=0.3, roll_back=True, measured=founded, grade="A", inhibits=("x",))
    page = " ".join(page_of(rule, 100).split())

    assert "Its status is test: proposes a learning rate, changes no file." in page
    assert "It proposes: learning rate × 0.3, go back to the best checkpoint." in page
    assert "precision 0.92 (0.78–0.97, fired on 36 of 240 recorded trainings)" in page
    assert "Grade A: replicated" in page
    assert "loss.drawup above 0.5 (once it fires, while above 0.3)" in page
    assert "It fires once that has held for 3 points, and ends once it has not held for 2 points." in page
    assert "drawn up by ‹loss.drawup›, noise ‹loss.noise›" in page
    shown = " ".join(page_of(make_rule(multiply=0.3), 100).split())
    assert "It would propose, once it has earned it: learning rate × 0.3." in shown
    assert "not measured yet: shown only" in shown


def test_nothing_in_a_rule_is_markup() -> None:
    evil = make_rule(
        title="[red]title[/]",
        description="[/] [bold",
        false_positives=("[link=x]else[/link]",),
        would_change=("[/change]",),
        parameters={"p": Parameter(1.0, "", "[blink]origin")},
        sources=(("[claim]", "[ref]"),),
    )
    page = page_of(evil, 80)

    for text in ("[red]title[/]", "[/] [bold", "[link=x]else[/link]", "[/change]", "[blink]origin", "[ref]"):
        assert text in page


def test_a_pipe_and_no_color_get_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in explained("cycle-worse")
    assert "\x1b[1;36m" in page_of(RULES[0], 80, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "36m" not in page_of(RULES[0], 80, terminal=True)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_document_of_a_rule(rule: Rule) -> None:
    document = json.loads(explained(rule.id, "json"))

    assert (document["schema"], document["kind"], document["id"]) == ("raftmon/explained@1", "rule", rule.id)
    assert document["grade"] == rule.grade
    assert document["would_change"] == list(rule.would_change)
    assert document["measured"]["runs"] == rule.measured.runs
    assert [c["signal"] for c in document["criteria"] if c["joins"] is None] == [
        comparison.signal for comparison in rule.when.comparisons()
    ]
    assert all(rule.id in other.inhibits for other in RULES if other.id in document["inhibited_by"])


@pytest.mark.parametrize("written", ["loss-divergs", "lossdiverges", "Loss-Diverges"])
def test_an_unknown_rule_is_met_with_the_nearest(written: str) -> None:
    with pytest.raises(UsageError, match="Did you mean `loss-diverges`"):
        explained(written)


@pytest.mark.parametrize("width", [60, 100])
def test_the_verdict_is_explained(width: int) -> None:
    weighing, file = read_weighing(SHIPPED_RULES / "verdict.yaml"), io.StringIO()
    print_verdict(weighing, Console(file=file, width=width, highlight=False))
    page = file.getvalue()

    assert max(len(line) for line in page.splitlines()) <= width
    words = " ".join(page.split())
    assert weighing.measured in words
    for feature in weighing.features:
        assert feature.signal in words
    for number in weighing.numbers.values():
        assert number.origin in words
    document = json.loads(explained(VERDICT, "json"))
    assert document["limits"]["speak_above"]["value"] == weighing.limits.speak_above
    assert [entry["signal"] for entry in document["features"]] == [feature.signal for feature in weighing.features]
    drawup = next(entry for entry in document["features"] if entry["signal"] == "loss.drawup_peak")
    assert drawup["high_speaks_for"] == "too_high"


def test_json_says_what_is_known_of_each_rule_once() -> None:
    document = json.loads(encode(snapshot_document(snapshots.raft())))

    live = next(run for run in document["runs"] if run["state"] == "live")
    assert live["findings"][0]["rule"] == "loss-draws-up"
    assert [live["findings"][0][key] for key in ("status", "grade", "precision")] == ["test", "B", 0.92]
    rule = document["rules"]["loss-draws-up"]
    assert rule["sources"][0] == {"claim": "1-02", "ref": "study of 531 small trainings"}
    assert rule["sources"][1]["claim"] is None
    assert rule["measured"]["precision_interval"] == [0.78, 0.97]
    assert rule["criteria"][0] == {"depth": 0, "joins": "all"}
    assert live["verdict"]["would_change"] == ["A second run at a third of the rate that ends no better."]
    assert live["findings"][1]["grade"] is None, "this finding comes from no rule file"
    assert list(document["rules"]) == ["loss-draws-up"]


@pytest.mark.parametrize(
    ("width", "aside"), [(120, "precision 0.92 (0.78–0.97, of 36)"), (100, "precision 0.92 of 36"), (60, "")]
)
def test_the_report_shows_the_precision_where_it_fits(width: int, aside: str) -> None:
    file = io.StringIO()
    print_report(snapshots.raft(), Console(file=file, width=width, highlight=False))

    (line,) = [line for line in file.getvalue().splitlines() if "climbs away" in line]
    assert line.partition("loss-draws-up")[2].strip() == aside


def test_findings_of_a_real_run_carry_their_evidence() -> None:
    monitor = Monitor([Path(__file__).parent / "runs" / "mlp"])
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()

    findings = [finding for run in snapshot.runs for finding in run.findings]
    by_rule: dict[str, set[int]] = {}
    for finding in findings:
        assert finding.evidence is not None
        assert finding.evidence.would_change
        _check_criteria(finding)
        by_rule.setdefault(finding.rule, set()).add(id(finding.evidence))
    assert len(snapshot.runs) > 5
    assert all(len(objects) == 1 for objects in by_rule.values()), "one object a rule"
    assert all(run.verdict.would_change for run in snapshot.runs)


def _check_criteria(finding: Finding) -> None:
    assert finding.evidence is not None
    compared = {criterion.signal for criterion in finding.evidence.criteria if criterion.joins is None}
    assert compared == {reading.signal for reading in finding.readings}


def test_a_rule_that_was_not_read_from_a_file_is_summed_up_when_it_is_shown() -> None:
    rule = make_rule(would_change=("A second run.",))

    assert rule.evidence is None
    assert "A second run." in page_of(rule, 80)
    assert dataclasses.replace(rule, evidence=summed_up(rule)).evidence == summed_up(rule)
