"""`raftmon lint`: each thing that it promises to see, on configs as people write them, with its exact place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raftmon.advice.lint import Earlier, LintReport, Remark
from raftmon.grounds import GRADES, LEVELS
from raftmon.model import SEVERITIES
from raftmon.run_config import RunConfig
from tests.test_lint import RULES, lint, run

HALO_FORGE = """\
base_model: Qwen/Qwen2.5-Coder-3B
prompts: prompts.jsonl
num_cycles: 8
raft:
  samples_per_prompt: 8
  keep_top_percent: 0.5
training:
  batch_size: 2
  gradient_accumulation_steps: 16
  learning_rate: 5.0e-5
  lr_decay_factor: 1.0
lora: {r: 16, alpha: 32}
"""
TORCHTUNE = """\
model:
  _component_: torchtune.models.llama3_1.lora_llama3_1_8b
  lora_rank: 256
  lora_alpha: 512
loss:
  _component_: torchtune.modules.loss.LinearCrossEntropyLoss
optimizer:
  _component_: torch.optim.AdamW
  lr: 0.0002
epochs: 1
"""
LIGHTNING = """\
seed_everything: 1
model:
  class_path: my.Net
  init_args: {lr: 1.0e-3}
trainer:
  max_epochs: 10
"""


def remark(report: LintReport, rule: str) -> Remark:
    return next(remark for remark in report.remarks if remark.rule == rule)


def place(report: LintReport, rule: str) -> str:
    return remark(report, rule).where.removeprefix(f"{report.path}:")


def rules_of(report: LintReport) -> set[str]:
    return {remark.rule for remark in report.remarks}


SCENARIOS = (
    ("stage: sft\nfinetuning_type: lora\n", 2e-4, 4e-3, "lr-off-reference"),
    ("stage: sft\nfinetuning_type: full\n", 1e-5, 2e-3, "lr-far-from-reference"),
    ("stage: dpo\nfinetuning_type: full\n", 1e-6, 2e-5, "lr-off-reference"),
    ("rl: grpo\nfinetuning_type: full\n", 5e-6, 1e-4, "lr-far-from-reference"),
    ("stage: pretrain\nfinetuning_type: full\n", 3e-4, 4e-3, "lr-off-reference"),
    ("batch_sampler: no_duplicates\nlogging_steps: 1\n", 2e-5, 2e-4, "lr-off-reference"),
    ("num_generations: 8\nactor_rollout_ref: {a: 1}\n", 1e-6, 3e-7, "lr-off-reference"),
)


@pytest.mark.parametrize(("head", "usual", "odd", "rule"), SCENARIOS)
def test_a_rate_outside_the_range_of_its_scenario(
    tmp_path: Path, head: str, usual: float, odd: float, rule: str
) -> None:
    assert rules_of(lint(tmp_path, f"{head}learning_rate: {usual:.1e}\n")) == set()
    report = lint(tmp_path, f"{head}learning_rate: {odd:.1e}\n")
    assert rules_of(report) == {rule}
    assert place(report, rule) == "3:16"
    assert report.reference is not None
    assert remark(report, rule).grade == report.reference.grade
    assert f"Write a rate between {report.reference.low:.1e} and" in remark(report, rule).fix


def test_raft_at_the_sft_rate(tmp_path: Path) -> None:
    report = lint(tmp_path, HALO_FORGE.replace("5.0e-5", "2.0e-4").replace("num_cycles: 8", "num_cycles: 5"))
    assert rules_of(report) == {"raft-at-sft-rate"}
    found = remark(report, "raft-at-sft-rate")
    assert (place(report, found.rule), found.severity, found.grade) == ("10:18", "low", "D")
    assert "never tested" in found.text
    assert ("0-06", "D") in {(source.claim, source.grade) for source in found.evidence}
    far = lint(tmp_path, HALO_FORGE.replace("5.0e-5", "2.0e-3"))
    assert "raft-at-sft-rate" in rules_of(far)


def test_a_constant_rate_beyond_cycle_six(tmp_path: Path) -> None:
    report = lint(tmp_path, HALO_FORGE)
    assert rules_of(report) == {"constant-rate-many-cycles"}
    found = remark(report, "constant-rate-many-cycles")
    assert (place(report, found.rule), found.severity) == ("11:20", "informational")
    assert "withdrawn by their author" in found.text
    for changed in (("num_cycles: 8", "num_cycles: 6"), ("factor: 1.0", "factor: 0.85")):
        assert rules_of(lint(tmp_path, HALO_FORGE.replace(*changed))) == set()
    malagent = "raft:\n  training: {learning_rate: 5.0e-5, batch_size: 2}\n  cycles: 7\n"
    assert place(lint(tmp_path, malagent), "constant-rate-many-cycles") == "3:11"


def test_the_decay_that_halo_forge_does_not_read(tmp_path: Path) -> None:
    text = HALO_FORGE.replace("lr_decay_factor", "lr_decay_per_cycle")
    report = lint(tmp_path, text)
    assert report.config.lr_decay == 0.85, "what is in force"
    found = {remark.where.removeprefix(f"{report.path}:"): remark.fix for remark in report.remarks}
    assert found["11:23"] == "Write `lr_decay_factor` below `training:`, or start it with `--lr-decay`."
    assert "lr_decay_factor: 1.0` below `training:`" in found["10:18"]
    top = lint(
        tmp_path, HALO_FORGE.replace("  lr_decay_factor: 1.0\n", "") + "lr_decay_per_cycle: 1.0\nmin_lr: 1.0e-6\n"
    )
    assert [remark.where.removeprefix(f"{top.path}:") for remark in top.remarks if "--lr-decay" in remark.text] == [
        "12:21"
    ]


def test_the_rate_that_ultralytics_does_not_read(tmp_path: Path) -> None:
    text = "model: yolov8n.pt\nlr0: 0.01\noptimizer: auto\nepochs: 100\n"
    report = lint(tmp_path, text)
    assert place(report, "key-not-read") == "2:6"
    assert "ultralytics#8400" in remark(report, "key-not-read").evidence[0].ref
    assert rules_of(lint(tmp_path, text.replace("auto", "SGD"))) == set()


def test_halo_forge_stops_on_a_rate_that_is_a_text(tmp_path: Path) -> None:
    report = lint(tmp_path, HALO_FORGE.replace("5.0e-5", "5e-5"))
    found = remark(report, "yaml-text-for-number")
    assert (place(report, found.rule), found.severity, found.fix) == ("10:18", "high", "Write 5.0e-5.")
    assert "TypeError" in found.text


def test_a_warmup_longer_than_the_steps_of_500_samples(tmp_path: Path) -> None:
    text = (
        "learning_rate: 2.0e-5\nnum_train_samples: 500\nper_device_train_batch_size: 2\n"
        "gradient_accumulation_steps: 16\nnum_train_epochs: 1\nwarmup_steps: 20\n"
    )
    report = lint(tmp_path, text)
    assert place(report, "warmup-outlasts-run") == "6:15"
    assert (remark(report, "warmup-outlasts-run").severity, remark(report, "warmup-outlasts-run").grade) == (
        "medium",
        "A",
    )
    shorter = lint(tmp_path, text.replace("warmup_steps: 20", "warmup_steps: 10"))
    assert "10 of 16 steps" in remark(shorter, "warmup-too-long").text
    assert rules_of(lint(tmp_path, text.replace("warmup_steps: 20", "warmup_steps: 1"))) == set()


def test_a_warmup_given_as_a_share_needs_no_steps(tmp_path: Path) -> None:
    report = lint(tmp_path, "learning_rate: 2.0e-5\nwarmup_ratio: 0.9\n")
    assert place(report, "warmup-outlasts-run") == "2:15"
    assert rules_of(lint(tmp_path, "learning_rate: 2.0e-5\nwarmup_ratio: 0.1\n")) == set()
    both = lint(tmp_path, "learning_rate: 2.0e-5\nwarmup_steps: 0\nwarmup_ratio: 0.5\nmax_steps: 1000\n")
    assert place(both, "warmup-too-long") == "3:15"


def test_the_steps_of_a_cycle_from_its_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n' * 100 + "\n")
    report = lint(tmp_path, HALO_FORGE)
    assert report.config.train_samples == 400
    found = remark(report, "warmup-too-long")
    assert place(report, found.rule) == "8:3", "the block that lacks `warmup_steps`"
    assert "10 of 13 steps" in found.text
    assert "the most there can be: 100 prompts × 8 samples, of which at most 0.5 is kept" in found.text
    kept = Earlier("cycle_2", RunConfig(train_samples=64), 5e-5, "raft")
    assert rules_of(lint(tmp_path, HALO_FORGE, kept)) >= {"warmup-outlasts-run"}
    (tmp_path / "prompts.jsonl").write_text("")
    assert lint(tmp_path, HALO_FORGE).at_most == ""


@pytest.mark.parametrize(
    ("line", "rule"),
    [("max_grad_norm: 0.001", "clip-limit-tiny"), ("max_grad_norm: 1000", "clip-limit-huge")],
)
def test_an_absurd_limit_of_the_gradient_norm(tmp_path: Path, line: str, rule: str) -> None:
    report = lint(tmp_path, f"learning_rate: 1.0e-6\n{line}\n")
    assert rules_of(report) == {rule}
    assert (place(report, rule), remark(report, rule).severity) == ("2:16", "low")
    for usual in ("0.2", "0.3", "1.0", "10.0", "0"):
        assert rules_of(lint(tmp_path, f"learning_rate: 1.0e-6\nmax_grad_norm: {usual}\n")) == set()


def test_a_missing_limit_where_the_trainer_then_clips_nothing(tmp_path: Path) -> None:
    assert place(lint(tmp_path, TORCHTUNE), "clip-missing") == "1:1"
    assert place(lint(tmp_path, TORCHTUNE + "clip_grad_norm: null\n"), "clip-missing") == "11:17"
    assert "clip-missing" not in rules_of(lint(tmp_path, TORCHTUNE + "clip_grad_norm: 1.0\n"))
    assert place(lint(tmp_path, LIGHTNING), "clip-missing") == "6:3", "inside `trainer:`"
    assert rules_of(lint(tmp_path, LIGHTNING + "  gradient_clip_val: 0.5\n")) == set()
    huggingface = "learning_rate: 2.0e-5\nper_device_train_batch_size: 4\n"
    assert rules_of(lint(tmp_path, huggingface)) == set(), "its default is 1.0"


def test_a_rate_and_a_weight_decay_whose_product_forgets(tmp_path: Path) -> None:
    text = "learning_rate: 1.0e-2\nweight_decay: 0.1\nmax_steps: 200000\n"
    report = lint(tmp_path, text)
    assert place(report, "decay-horizon-short") == "2:15"
    assert {source.claim for source in remark(report, "decay-horizon-short").evidence} == {"2-12", "2-37"}
    assert rules_of(lint(tmp_path, text.replace("1.0e-2", "3.0e-4"))) == set()


def test_a_rate_for_a_large_rank(tmp_path: Path) -> None:
    report = lint(tmp_path, TORCHTUNE + "clip_grad_norm: 1.0\n")
    assert rules_of(report) == {"lora-rank-outgrows-rate"}
    assert place(report, "lora-rank-outgrows-rate") == "9:7"
    for changed in (("512", "32"), ("lora_rank: 256", "lora_rank: 64"), ("0.0002", "0.000025")):
        assert "lora-rank-outgrows-rate" not in rules_of(lint(tmp_path, TORCHTUNE.replace(*changed)))


def test_lora_without_alpha_has_the_place_of_its_block(tmp_path: Path) -> None:
    text = "learning_rate: 2.0e-4\nlora:\n  r: 16\n"
    assert place(lint(tmp_path, text), "lora-alpha-unknown") == "3:3"


def test_batch_rank_and_decay_against_the_last_run(tmp_path: Path) -> None:
    before = RunConfig(batch_size=2, gradient_accumulation=16, optimizer="adamw", weight_decay=0.01)
    text = "learning_rate: 1.0e-4\nper_device_train_batch_size: 8\ngradient_accumulation_steps: 16\n"
    report = lint(tmp_path, f"{text}weight_decay: 0.01\n", Earlier("r", before, 1e-4))
    assert report.against is not None
    changes = {change.parameter: change for change in report.against.changes.found}
    assert changes["effective_batch"].factor == 2.0, "the square root of four, for Adam"
    assert changes["effective_batch"].grade == "B"
    assert "keeps lr × decay" in changes["weight_decay"].text
    assert report.against.learning_rate == 2e-4


DEEPSPEED = """\
{
\t"train_micro_batch_size_per_gpu": "4",
\t"optimizer": {"type": "AdamW",
\t\t"params": {"lr": 5e-5, "lr": 0.0}},
\t"scheduler": {"params": {"warmup_num_steps": 5000, "total_num_steps": 1000}},
\t"gradient_clipping"
\t: 0.001
}
"""


def test_json_has_places_duplicates_and_slips_too(tmp_path: Path) -> None:
    report = lint(tmp_path, DEEPSPEED, name="ds.json")
    found = {(remark.rule, remark.where.removeprefix(f"{report.path}:")) for remark in report.remarks}
    assert found == {
        ("yaml-text-for-number", "2:36"),
        ("yaml-duplicate-key", "4:26"),
        ("rate-not-positive", "4:32"),
        ("warmup-outlasts-run", "5:47"),
        ("clip-limit-tiny", "7:4"),
    }


def test_every_remark_has_a_place_a_fix_and_its_evidence(tmp_path: Path) -> None:
    texts = (
        HALO_FORGE.replace("5.0e-5", "2e-4"),
        TORCHTUNE,
        LIGHTNING,
        DEEPSPEED.replace("\n\t:", ":").replace("\t", " "),
    )
    for text in texts:
        for found in lint(tmp_path, text).remarks:
            _, line, column = found.where.rsplit(":", 2)
            assert int(line) >= 1 <= int(column)
            assert found.fix.endswith(".")
            assert "?" not in found.fix + found.text, found.rule
            assert found.level in LEVELS
            assert found.grade in GRADES
            assert all(source.ref for source in found.evidence)
            assert found.evidence


def test_a_rule_that_a_config_can_answer_has_a_fix() -> None:
    answerable = {
        "clip-limit-huge",
        "clip-limit-tiny",
        "clip-missing",
        "constant-rate-many-cycles",
        "decay-horizon-short",
        "logging-too-sparse",
        "lora-alpha-unknown",
        "lora-rank-outgrows-rate",
        "lr-far-from-reference",
        "lr-off-reference",
        "raft-at-sft-rate",
        "warmup-outlasts-run",
        "warmup-too-long",
    }
    # Time alone answers the other one, and no configuration.
    assert {rule.id for rule in RULES if rule.fix} == answerable | {"job-stalled"}


def test_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, broken, none = tmp_path / "halo.yaml", tmp_path / "broken.yaml", tmp_path / "none.yaml"
    path.write_text(HALO_FORGE.replace("5.0e-5", "2.0e-4"))
    broken.write_text("a: [\n")
    none.write_text("services: {web: 1}\n")
    expected = {"informational": 1, "low": 1, "medium": 0, "high": 0, "critical": 0}
    assert {level: run(capsys, path, "--fail-on", level)[0] for level in SEVERITIES} == expected
    assert run(capsys, path)[0] == 0
    assert run(capsys, path, broken, "--fail-on", "low")[0] == 2
    assert run(capsys, none, "--fail-on", "low")[0] == 3
    code, _, err = run(capsys, path, "--fail-on", "severe")
    assert (code, "informational" in err) == (2, True)


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "halo.yaml"
    path.write_text(HALO_FORGE.replace("5.0e-5", "2e-4"))
    code, out, _ = run(capsys, path, "--format", "json", "--fail-on", "high")
    document: dict[str, Any] = json.loads(out)
    (config,) = document["configs"]
    findings = {finding["rule"]: finding for finding in config["findings"]}
    assert code == 1
    slip, rule = findings["yaml-text-for-number"], findings["raft-at-sft-rate"]
    assert (slip["where"], slip["fix"], slip["evidence_level"], slip["grade"]) == (
        f"{path}:10:18",
        "Write 2.0e-4.",
        "established",
        "A",
    )
    assert (rule["where"], rule["evidence_level"], rule["grade"]) == (f"{path}:10:18", "anecdotal", "D")
    assert (config["known"]["num_cycles"], config["known"]["lr_decay"], config["steps_at_most"]) == (8, 1.0, None)


def test_a_tab_that_trainers_cannot_read(tmp_path: Path) -> None:
    report = lint(tmp_path, "learning_rate: 5.0e-5\t# mine\nper_device_train_batch_size: 4\n")

    assert place(report, "yaml-not-read") == "1:22"
    assert remark(report, "yaml-not-read").severity == "high"
