"""What is shipped for Prometheus, Alertmanager and Grafana fits what is exported, and their own tools accept it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from raftmon.daemon.families import FAMILIES, PROCESS, table

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "raftmon" / "deploy"
RULES = DEPLOY / "prometheus" / "raftmon.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "raftmon.json"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENDINGS = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
LABELS: dict[str, set[str]] = {
    **{
        f"{family.name}{ending}": {*family.labels, *({"le"} if family.kind == "histogram" else ())}
        for family in FAMILIES
        for ending in ENDINGS[family.kind]
    },
    **{key: set() for key in PROCESS},
    "up": set(),
    "ALERTS": {"alertname", "alertstate"},
}
"""Labels of each metric, beside those that every scrape adds."""
SCRAPED = {"job", "instance"}


def run(*command: str) -> str:
    """Run a tool of Prometheus or Alertmanager, and return what it says."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: prometheus, prometheus-alertmanager)")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def targets() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with an expression of it."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    marks = [mark["expr"] for mark in board["annotations"]["list"]]
    return [*(rule["expr"] for rule in of_rules()), *(expr for _, expr in targets()), *marks]


def test_the_rules_pass_their_own_tests() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", str(RULES.with_name("raftmon.rules.test.yml")))


def test_the_tools_accept_the_examples() -> None:
    run("promtool", "check", "config", "--syntax-only", str(RULES.with_name("scrape.yml")))
    run("amtool", "check-config", str(DEPLOY / "alertmanager" / "alertmanager.yml"))


def test_every_alert_says_what_is_the_matter_and_what_to_do() -> None:
    names = [rule["alert"] for rule in of_rules()]
    assert len(names) == len(set(names))
    for rule in of_rules():
        assert rule["alert"].startswith("Raftmon")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert {"summary", "description", "runbook"} == rule["annotations"].keys()
        assert "for" in rule


def test_expressions_ask_only_for_what_is_exported() -> None:
    for expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        named = re.findall(r"\b(?:raftmon_\w+|process_\w+|up\b|ALERTS\b)", bare)
        assert named, expression
        assert set(named) <= LABELS.keys(), expression
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", bare):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert asked <= LABELS[name] | SCRAPED, expression


def test_alertmanager_knows_the_alerts_and_severities() -> None:
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"Raftmon\w+", text)) <= {rule["alert"] for rule in of_rules()}
    named = set(re.findall(r'severity = "(\w+)"', text))
    assert named == {"critical", "info"}
    assert named < {rule["labels"]["severity"] for rule in of_rules()}


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] >= other["x"] + other["w"] or other["x"] >= one["x"] + one["w"]
        above = one["y"] >= other["y"] + other["h"] or other["y"] >= one["y"] + one["h"]
        assert beside or above, (one, other)
    asked = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__auto"}
    assert asked == {variable["name"] for variable in board["templating"]["list"]}


def test_everything_that_is_exported_is_shown_somewhere() -> None:
    shown = " ".join(expressions())
    left = {family.name for family in FAMILIES if family.name not in shown}
    assert left == {"raftmon_snapshots", "raftmon_build_info"}


def test_the_dashboard_asks_in_promql(tmp_path: Path) -> None:
    rules = []
    for number, (_, expr) in enumerate(targets()):
        filled = expr.replace("$instance", ".*").replace("$logdir", ".*")
        rules.append({"record": f"panel_{number}", "expr": filled})
    place = tmp_path / "panels.yml"
    place.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", str(place))


def test_the_readme_names_the_metrics_as_they_are() -> None:
    known = {family.stored for family in FAMILIES}
    assert set(re.findall(r"\braftmon_(?:run|campaign|finding|runs|lag|events|bytes)_?\w*", README)) <= known
    assert README.count("| metric | labels |") == README.count(table())
