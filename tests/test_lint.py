"""`raftmon lint`: configs of trainers as they are, and files that are none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.claims import load_claims
from raftmon.advice.interactions import interactions
from raftmon.advice.lint import Earlier, LintReport, earlier_run, lint_config
from raftmon.advice.rulebook import load_rules
from raftmon.advice.yaml_slips import yaml_slips
from raftmon.cli import main
from raftmon.demo.replay import RECORDING
from raftmon.model import Problem
from raftmon.run_config import RunConfig
from raftmon.runs.config_keys import canonical, run_config
from raftmon.runs.key_table import KEYS
from raftmon.signals.config import ConfigSignals
from tests.views import make_cycle, make_run, make_series

RULES = load_rules()
CLAIMS = load_claims({rule.id for rule in RULES})
NUMBERS = st.one_of(
    st.floats(allow_nan=True).map(str),
    st.integers(-2, 10**6).map(str),
    st.sampled_from(["auto", "", "lora", "full", "adamw", "true", "1e308", "5e-324", "meta-llama/Llama-3.1-8B"]),
)
TRL = """\
learning_rate: 2.0e-4
per_device_train_batch_size: 2
gradient_accumulation_steps: 16
max_steps: 16
warmup_steps: 10
logging_steps: 10
optim: adamw_torch
lora_r: 16
lora_alpha: 32
"""


def lint(tmp_path: Path, text: str, earlier: Earlier | None = None, name: str = "config.yaml") -> LintReport:
    path = tmp_path / name
    path.write_text(text)
    problems: list[Problem] = []
    report = lint_config(path, RULES, CLAIMS, problems, earlier)
    assert problems == []
    assert report is not None
    return report


def found(report: LintReport) -> dict[str, str]:
    return {remark.rule: remark.where.rsplit("config.yaml", 1)[-1] for remark in report.remarks}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["lint", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_rules_that_a_config_answers(tmp_path: Path) -> None:
    report = lint(tmp_path, TRL)
    assert found(report) == {"logging-too-sparse": ":6:16", "warmup-too-long": ":5:15"}
    remark = next(remark for remark in report.remarks if remark.rule == "warmup-too-long")
    assert "10 of 16 steps are warm-up; 2 would do" in remark.text
    assert remark.fix == "Write a warm-up of 2 steps."
    assert (remark.level, remark.grade) == ("observed", "B")
    assert [(source.claim, source.grade) for source in remark.evidence][:2] == [("0-23", "C"), ("2-07", "B")]
    assert report.unanswered["lr-off-reference"] == ("stage",)


def test_a_healthy_config_has_nothing_to_remark(tmp_path: Path) -> None:
    text = TRL.replace("warmup_steps: 10", "warmup_steps: 1").replace("logging_steps: 10", "logging_steps: 1")
    report = lint(tmp_path, f"{text}stage: sft\n")
    assert report.remarks == ()
    assert report.reference is not None
    assert report.reference.excess(2e-4) == 1.0


def test_a_warmup_as_long_as_the_run_is_said_once(tmp_path: Path) -> None:
    report = lint(tmp_path, "learning_rate: 1.0e-4\nwarmup_steps: 500\nmax_steps: 100\n")
    assert found(report) == {"warmup-outlasts-run": ":2:15"}


def test_a_rate_far_from_its_reference_rests_on_that_reference(tmp_path: Path) -> None:
    report = lint(tmp_path, "stage: sft\nfinetuning_type: full\nlearning_rate: 2.0e-2\n")
    (remark,) = report.remarks
    assert (remark.rule, remark.severity) == ("lr-far-from-reference", "low")
    assert {source.grade for source in remark.evidence} == {"C"} == {remark.grade}
    assert remark.where.endswith("config.yaml:3:16")
    assert remark.fix.startswith("Write a rate between 1.0e-05 and 1.0e-04,")
    assert "200 times" in remark.text


SLIPS = {
    "learning_rate: 5e-5": "1:16",
    "a: 1\ntraining: {learning_rate: 1E-4}": "2:27",
    "learning_rate: 1.0e5": "1:16",
    "learning_rate: '5e-5'": "1:16",
    "weight_decay: [1e-2]": "1:16",
    "whatever: 3e8": "1:11",
}
NO_SLIPS = (
    "learning_rate: 5.0e-5",
    "learning_rate: 0.00005",
    "learning_rate: .5e-4",
    "learning_rate: !!float 5e-5",
    "name: '5e-5'",
    "revision: 1e5f3a",
    "model: phi-1e",
)


@pytest.mark.parametrize("text", SLIPS)
def test_a_number_that_is_a_text_for_yaml(tmp_path: Path, text: str) -> None:
    report = lint(tmp_path, text + "\n")
    assert found(report) == {"yaml-text-for-number": f":{SLIPS[text]}"}


@pytest.mark.parametrize("text", NO_SLIPS)
def test_numbers_and_names_that_are_what_they_look_like(tmp_path: Path, text: str) -> None:
    assert found(lint(tmp_path, text + "\n")) == {}


@pytest.mark.parametrize("text", SLIPS)
def test_the_number_to_write_is_one_for_pyyaml(tmp_path: Path, text: str) -> None:
    (remark,) = lint(tmp_path, text + "\n").remarks
    written = remark.fix.split()[1].rstrip(".")
    value = yaml.safe_load(f"a: {written}")["a"]
    assert isinstance(value, float)
    wrong = next(word for word in remark.text.split("`")[1].split() if "e" in word.lower() and word[0].isdigit())
    assert value == float(wrong)


def test_the_slip_weighs_little_where_the_reader_knows_better(tmp_path: Path) -> None:
    report = lint(tmp_path, "optimizer: {_component_: torch.optim.AdamW, lr: 3e-4}\n")
    assert [remark.severity for remark in report.remarks] == ["informational"]


def test_keys_given_twice_and_values_that_stand_elsewhere(tmp_path: Path) -> None:
    text = "a: {lr: 1.0, lr: 2.0}\nb: &x {<<: {c: 1}, <<: {d: 2}}\nlearning_rate: ${oc.env:LR}\nbatch_size: 4\n"
    assert found(lint(tmp_path, text)) == {"yaml-duplicate-key": ":1:14", "yaml-unresolved": ":3:16"}


def test_slips_of_a_hostile_document_end(tmp_path: Path) -> None:
    bomb = "a: &a [1e5, 1e5]\n" + "".join(f"b{i}: &b{i} [{'*a' if not i else f'*b{i - 1}'}, *a]\n" for i in range(60))
    node = yaml.compose(bomb + "loop: &l {l: *l}\n", Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    assert len(yaml_slips(node, tmp_path)) == 2
    many = yaml.compose("".join(f"k{i}: 1e5\n" for i in range(200)), Loader=yaml.SafeLoader)
    assert isinstance(many, yaml.MappingNode)
    assert len(yaml_slips(many, tmp_path)) == 50


def test_keys_that_halo_forge_does_not_read(tmp_path: Path) -> None:
    text = """\
num_cycles: 6
training:
  learning_rate: 5.0e-5
  max_grad_norm: 0.3
  learning_rate_schedule: {cycle_1: 5.00e-5, cycle_2: 4.25e-5}
  warmup_steps: 0
"""
    report = lint(tmp_path, text)
    assert {remark.rule for remark in report.remarks} == {"key-not-read"}
    places = [remark.where.rsplit("config.yaml", 1)[-1] for remark in report.remarks]
    assert places == [":3:18", ":4:18", ":5:37", ":6:17"]
    assert "clipped at 1.0" in report.remarks[1].text
    constant = "training: {learning_rate: 5.0e-5, lr_decay_factor: 1.0, warmup_steps: 1}\n"
    assert lint(tmp_path, constant).remarks == ()
    assert lint(tmp_path, text.replace("num_cycles: 6", "a: 1")).remarks == ()


def test_against_an_earlier_run(tmp_path: Path) -> None:
    config = RunConfig(optimizer="adamw", batch_size=2, gradient_accumulation=16, lora_rank=16, lora_alpha=32.0)
    text = (
        TRL.replace("lora_r: 16", "lora_r: 64")
        .replace("steps: 16\n", "steps: 64\n", 1)
        .replace("optim: adamw_torch\n", "")
    )
    report = lint(tmp_path, text, Earlier("cycle_3/logs", config, 4e-5))
    assert report.taken == ("optimizer",)
    assert report.against is not None
    assert [(change.parameter, change.factor) for change in report.against.changes.found] == [
        ("lora_rank", 1.0),
        ("effective_batch", 2.0),
    ]
    assert report.against.learning_rate == 8e-5


def test_a_cycle_of_raft_is_one_although_its_config_says_sft(tmp_path: Path) -> None:
    report = lint(tmp_path, "stage: sft\nlearning_rate: 1.0e-4\nlora_r: 8\n", Earlier("r", RunConfig(), 1e-4, "raft"))
    assert (report.config.stage, report.taken) == ("raft", ("stage",))
    assert report.against is not None
    assert report.against.changes.found == ()
    assert lint(tmp_path, "stage: sft\n", Earlier("r", RunConfig(), 1e-4, "dpo")).config.stage == "sft"


def test_the_earlier_run_is_the_newest_with_points_and_trained_on_what_its_cycle_kept() -> None:
    rates = make_series("learning_rate", [1e-5, float("inf"), float("nan"), 5e-5])
    runs = [
        make_run("cycle_1/logs", last_wall_time=10.0),
        make_run("cycle_2/logs", last_wall_time=20.0, series={"learning_rate": rates}, config=RunConfig(epochs=1.0)),
        make_run("cycle_3/logs", last_wall_time=30.0, state="empty"),
    ]
    earlier = earlier_run(runs, [make_cycle(1, 0.3, 5e-5, 1000), make_cycle(2, 0.5, 5e-5, 2008)])
    assert earlier == Earlier("cycle_2/logs", RunConfig(epochs=1.0, train_samples=502), 5e-5, "raft")
    assert earlier_run(runs[2:]) is None


def test_the_steps_of_the_next_cycle_follow_from_what_the_last_one_kept(tmp_path: Path) -> None:
    earlier = Earlier("cycle_2/logs", RunConfig(epochs=1.0, train_samples=502), 5e-5, "raft")
    text = "learning_rate: 5.0e-5\nwarmup_steps: 10\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 16\n"
    report = lint(tmp_path, text, earlier)
    assert report.taken == ("epochs", "train_samples", "stage")
    assert found(report) == {"warmup-too-long": ":2:15"}
    assert "10 of 16 steps" in report.remarks[0].text


def test_a_refused_change_gives_no_number(tmp_path: Path) -> None:
    earlier = Earlier("r", RunConfig(lora_rank=8, method="lora"), 1e-4)
    report = lint(tmp_path, TRL, earlier)
    assert report.against is not None
    assert report.against.learning_rate is None
    assert "need lora_alpha" in report.against.changes.found[0].text


def test_json_configs_have_no_slips_of_yaml(tmp_path: Path) -> None:
    text = '{\n\t"optimizer": {"type": "AdamW", "params": {"lr": 3e-5}}, "gradient_clipping": 1.0}'
    report = lint(tmp_path, text, name="ds.json")
    assert report.config.learning_rate == 3e-5
    assert report.remarks == ()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trl.yaml"
    path.write_text(TRL)
    code, out, err = run(capsys, path)
    assert (code, err) == (0, "")
    assert "10 of 16 steps are warm-up" in out
    assert "grade C" in out
    assert "would change this" in out
    assert "fix: Write a warm-up of 2 steps." in out
    assert f"{path.name}:5:15: low Warm-up is longer" in " ".join(out.split())

    code, out, _ = run(capsys, path, "--logdir", RECORDING, "--format", "json")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["schema"], document["problems"]) == (0, "raftmon/lint@1", [])
    (config,) = document["configs"]
    assert config["known"]["effective_batch"] == 32
    assert {finding["rule"] for finding in config["findings"]} == {
        "logging-too-sparse",
        "warmup-too-long",
        "raft-at-sft-rate",
    }
    assert config["against"]["run"] == "cycle_10/logs"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("empty.yaml", b"", "1:1: empty"),
        ("binary.yaml", b"\x00\xff\xfe\x80" * 50, "not UTF-8"),
        ("list.yaml", b"- 1\n", "no mapping"),
        ("torn.yaml", b"a: [1\nb: 2\n", "torn.yaml:2:"),
        ("list.json", b"[1]", "no JSON object"),
        ("torn.json", b'{"lr": \n', "torn.json:2:1: not valid JSON"),
        ("deep.json", b"[" * 100_000, "nested too deep"),
        ("large.yaml", b"a: 1\n" * 900_000, "larger than 4 MB"),
        ("/dev/zero", b"", "larger than 4 MB"),
        (None, b"", "No such file"),
        (".", b"", "Is a directory"),
    ],
)
def test_what_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str | None, content: bytes, what: str
) -> None:
    path = tmp_path / (name or "missing.yaml")
    if name not in (None, ".", "/dev/zero"):
        path.write_bytes(content)
    good = tmp_path / "good.yaml"
    good.write_text(TRL)
    code, out, err = run(capsys, path, good)
    assert code == 2
    assert what in err
    assert "good.yaml" in out, "the others are still linted"


def test_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {web: {image: nginx}}\n")
    code, _, err = run(capsys, path)
    assert (code, "no value under a key of any known trainer" in err) == (3, True)
    path.write_text(TRL)
    assert run(capsys, path, "--logdir", tmp_path)[0] == 3


@given(st.dictionaries(st.sampled_from(sorted({key for keys in KEYS.values() for key in keys})), NUMBERS, max_size=12))
def test_no_number_breaks_it(values: dict[str, str]) -> None:
    config = run_config(canonical(values), "")
    readings = ConfigSignals(config, "sft").readings()
    assert all(value is None or not math.isnan(value) for value in readings.values())
    for earlier in (RunConfig(batch_size=1, optimizer="adamw", lora_rank=1, lora_alpha=1.0), config):
        for item in (*interactions(earlier, config).found, *interactions(config, earlier).found):
            assert item.factor is None or item.factor > 0.0


def test_names_and_values_cannot_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text('lr_scheduler_type: "\\e[31mred[bold]"\n"\\e[2J": 1\n"\\e[2J": 2\nlearning_rate: 1.0e-4\n')
    code, out, _ = run(capsys, path)
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.parametrize("written", [".nan", "0", "0.0", "-1e-4", "1e400", "-.inf"])
def test_a_rate_that_trains_nothing_is_named(written: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"learning_rate: {written}\nmax_steps: 100\n")
    problems: list[Problem] = []
    report = lint_config(path, load_rules(), {}, problems)

    assert report is not None
    assert problems == []
    remark = next(remark for remark in report.remarks if remark.rule == "rate-not-positive")
    assert remark.severity == "high"
    assert remark.where == f"{path}:1:16"
    assert written in remark.text
