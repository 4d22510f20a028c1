"""Roles: every trainer's tags are known for what they are."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import pytest

from raftmon.events.tail import EventFile
from raftmon.model import Problem
from raftmon.runs.logdir import is_event_file_name
from raftmon.runs.roles import ROLES, UNKNOWN, RoleTable, RoleTag

RULES = Path(__file__).resolve().parent.parent / "rules"


def load(directory: Path = RULES, extra: dict[str, str] | None = None) -> tuple[RoleTable, list[Problem]]:
    problems: list[Problem] = []
    return RoleTable.load(directory, problems, extra), problems


@pytest.fixture(scope="module")
def table() -> RoleTable:
    table, problems = load()
    assert problems == []
    return table


def roles_of(table: RoleTable, tags: Collection[str]) -> dict[str, str]:
    return {role: tag.tag for role, tag in table.assign(tags, table.dialect_of(tags)).items()}


HF = ["train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "eval/loss", "eval/accuracy",
      "eval/runtime", "eval/samples_per_second"]  # fmt: skip
HF_END = ["train/train_runtime", "train/train_loss", "train/total_flos", "train/train_samples_per_second"]
GRPO = ["train/loss", "train/learning_rate", "train/grad_norm", "train/reward", "train/reward_std",
        "train/rewards/format/mean", "train/frac_reward_zero_std", "train/kl", "train/entropy",
        "train/clip_ratio/region_mean", "train/completions/mean_length", "train/completions/clipped_ratio"]  # fmt: skip
MEGATRON = ["lm loss", "lm loss vs samples", "learning-rate", "learning-rate vs samples", "grad-norm",
            "grad-norm vs samples", "loss-scale", "lm loss validation", "lm loss validation ppl",
            "throughput"]  # fmt: skip
VERL = ["actor/pg_loss", "critic/vf_loss", "actor/lr", "critic/lr", "actor/grad_norm", "critic/grad_norm",
        "critic/score/mean", "critic/rewards/mean", "actor/entropy", "actor/ppo_kl", "actor/kl_loss",
        "actor/pg_clipfrac", "perf/throughput", "response_length/mean", "response_length/clip_ratio",
        "val-core/gsm8k/reward/mean@1", "val-core/gsm8k/acc/mean@1", "val-core/gsm8k/acc/best@2/std"]  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "tags", "expected"),
    [
        (
            "hf",
            HF + HF_END,
            {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm",
             "eval_loss": "eval/loss", "eval_metric": "eval/accuracy", "epoch": "train/epoch",
             "run_end": "train/train_runtime"},
        ),
        (
            "trl-sft",
            ["train/loss", "train/learning_rate", "train/mean_token_accuracy", "train/entropy", "train/num_tokens",
             "eval/mean_token_accuracy"],
            {"loss": "train/loss", "accuracy": "train/mean_token_accuracy", "entropy": "train/entropy",
             "eval_metric": "eval/mean_token_accuracy"},
        ),
        (
            "trl-dpo",
            ["train/loss", "train/learning_rate", "train/rewards/chosen", "train/rewards/margins",
             "train/rewards/accuracies", "train/logps/chosen", "eval/loss", "eval/rewards/accuracies"],
            {"loss": "train/loss", "accuracy": "train/rewards/accuracies", "eval_loss": "eval/loss",
             "eval_metric": "eval/rewards/accuracies", "reward": None},
        ),
        (
            "trl-grpo",
            GRPO,
            {"policy_loss": "train/loss", "loss": None, "reward": "train/reward", "kl": "train/kl",
             "clip_ratio": "train/clip_ratio/region_mean", "completion_length": "train/completions/mean_length",
             "entropy": "train/entropy"},
        ),
        (
            "trl-grpo",
            ["train/loss", "train/learning_rate", "train/rewards/length/mean", "train/rewards/format/mean",
             "train/rewards/format/std"],
            {"reward": "train/rewards/format/mean"},
        ),
        (
            "trl-reward",
            ["train/loss", "train/learning_rate", "train/accuracy", "train/margin", "train/mean_reward"],
            {"accuracy": "train/accuracy", "reward": None},
        ),
        (
            "trl-ppo",
            ["train/loss/policy_avg", "train/loss/value_avg", "train/lr", "train/objective/scores",
             "train/objective/rlhf_reward", "train/objective/kl", "train/objective/entropy",
             "train/policy/approxkl_avg", "train/policy/clipfrac_avg", "train/policy/entropy_avg"],
            {"policy_loss": "train/loss/policy_avg", "value_loss": "train/loss/value_avg",
             "learning_rate": "train/lr", "reward": "train/objective/scores", "kl": "train/objective/kl",
             "update_kl": "train/policy/approxkl_avg", "entropy": "train/objective/entropy", "loss": None},
        ),
        ("axolotl", ["train/loss", "train/learning_rate", "train/ppl", "train/tokens/train_per_sec_per_gpu"],
         {"throughput": "train/tokens/train_per_sec_per_gpu"}),
        ("ms-swift", ["train/loss", "train/learning_rate", "train/token_acc", "train/memory(GiB)"],
         {"accuracy": "train/token_acc"}),
        (
            "lightning",
            ["train_loss", "train_loss_epoch", "val_loss", "val_rmse", "val_mae", "lr-AdamW/pg2", "lr-AdamW/pg1",
             "lr-AdamW/pg1-momentum", "grad_2.0_norm_total", "epoch", "hp_metric"],
            {"loss": "train_loss", "eval_loss": "val_loss", "eval_metric": "val_rmse", "learning_rate": "lr-AdamW/pg1",
             "grad_norm": "grad_2.0_norm_total", "epoch": "epoch"},
        ),
        (
            "lightning",
            ["train_loss_step", "train_loss_epoch", "val_BinaryAUROC", "val_BinaryConfusionMatrix",
             "learning_rate/pg10", "learning_rate/pg2", "train_BinaryAccuracy", "epoch"],
            {"loss": "train_loss_step", "learning_rate": "learning_rate/pg2", "eval_metric": "val_BinaryAUROC",
             "accuracy": "train_BinaryAccuracy"},
        ),
        ("torchtune", ["loss", "lr", "grad_norm", "tokens_per_second_per_gpu", "val_loss"],
         {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm", "eval_loss": "val_loss"}),
        ("nemo", ["reduced_train_loss", "lr", "grad_norm", "val_loss", "global_step", "consumed_samples", "hp_metric",
                  "epoch", "train_step_timing in s"],
         {"loss": "reduced_train_loss", "learning_rate": "lr", "eval_loss": "val_loss", "eval_metric": None}),
        (
            "megatron",
            MEGATRON,
            {"loss": "lm loss", "learning_rate": "learning-rate", "grad_norm": "grad-norm",
             "eval_loss": "lm loss validation", "eval_metric": "lm loss validation ppl", "loss_scale": "loss-scale"},
        ),
        ("deepspeed", ["Train/Samples/train_loss", "Train/Samples/lr", "Train/Samples/loss_scale"],
         {"loss": "Train/Samples/train_loss", "learning_rate": "Train/Samples/lr"}),
        (
            "verl",
            VERL,
            {"policy_loss": "actor/pg_loss", "value_loss": "critic/vf_loss", "learning_rate": "actor/lr",
             "grad_norm": "actor/grad_norm", "reward": "critic/score/mean", "kl": "actor/kl_loss",
             "update_kl": "actor/ppo_kl", "eval_metric": "val-core/gsm8k/acc/mean@1", "loss": None,
             "completion_length": "response_length/mean"},
        ),
        ("verl-sft", ["train/loss", "train/lr(1e-3)", "val/loss"], {"learning_rate": "train/lr(1e-3)"}),
        ("verl-sft", ["train/loss", "train/lr", "train/mfu", "train/grad_norm", "val/loss"],
         {"loss": "train/loss", "learning_rate": "train/lr", "eval_loss": "val/loss"}),
        ("openrlhf", ["train/gpt_loss", "train/loss_mean", "train/lr", "eval/eval gpt_loss"],
         {"loss": "train/gpt_loss", "learning_rate": "train/lr", "eval_loss": "eval/eval gpt_loss"}),
        ("openrlhf-ppo", ["train/policy_loss", "train/critic_loss", "train/actor_lr", "train/critic_lr", "train/reward",
                          "train/kl", "train/ppo_kl", "train/entropy_loss", "train/actor_grad_norm"],
         {"policy_loss": "train/policy_loss", "value_loss": "train/critic_loss", "learning_rate": "train/actor_lr",
          "entropy": "train/entropy_loss", "update_kl": "train/ppo_kl", "grad_norm": "train/actor_grad_norm"}),
        ("slime", ["train/loss", "train/pg_loss", "train/lr-pg_0", "train/lr-pg_1", "train/grad_norm"],
         {"policy_loss": "train/pg_loss", "learning_rate": "train/lr-pg_0", "loss": None}),
        ("roll", ["actor/pg_loss", "actor/lr", "actor_train/grad_norm", "actor/approxkl"],
         {"policy_loss": "actor/pg_loss", "grad_norm": "actor_train/grad_norm", "update_kl": "actor/approxkl"}),
        ("nemo-rl", ["train/loss", "train/lr", "train/token_mult_prob_error", "train/reward", "validation/accuracy"],
         {"policy_loss": "train/loss", "reward": "train/reward", "eval_metric": "validation/accuracy"}),
        ("trlx", ["losses/total_loss", "learning_rate_group_0", "learning_rate_group_1", "reward/mean"],
         {"learning_rate": "learning_rate_group_0", "reward": "reward/mean", "loss": "losses/total_loss"}),
        (
            "sb3",
            ["train/loss", "train/policy_gradient_loss", "train/value_loss", "train/learning_rate",
             "train/entropy_loss", "train/approx_kl", "train/clip_fraction", "rollout/ep_rew_mean", "time/fps",
             "eval/mean_reward", "eval/mean_ep_length"],
            {"policy_loss": "train/policy_gradient_loss", "reward": "rollout/ep_rew_mean", "loss": None,
             "entropy": "train/entropy_loss", "update_kl": "train/approx_kl", "eval_metric": "eval/mean_reward"},
        ),
        ("sb3", ["train/loss", "train/learning_rate", "time/fps"], {"policy_loss": "train/loss", "loss": None}),
        ("mlagents", ["Policy/Learning Rate", "Policy/Entropy", "Losses/Policy Loss", "Losses/Value Loss",
                      "Environment/Cumulative Reward", "Environment/Lesson Number/x"],
         {"learning_rate": "Policy/Learning Rate", "reward": "Environment/Cumulative Reward", "loss": None,
          "policy_loss": "Losses/Policy Loss"}),
        ("tianshou", ["update/loss", "test/env_step", "test/reward", "test/reward_std", "train/reward", "train/eps"],
         {"policy_loss": "update/loss", "reward": "train/reward", "eval_metric": "test/reward", "loss": None}),
        ("ultralytics", ["train/box_loss", "train/cls_loss", "val/cls_loss", "val/box_loss", "lr/pg1", "lr/pg0",
                         "metrics/mAP50(B)", "metrics/mAP50-95(B)"],
         {"loss": "train/box_loss", "learning_rate": "lr/pg0", "eval_loss": "val/box_loss",
          "eval_metric": "metrics/mAP50-95(B)"}),
        ("detectron2", ["total_loss", "loss_ce", "lr", "data_time", "eta_seconds"],
         {"loss": "total_loss", "learning_rate": "lr"}),
        ("mmengine", ["loss", "loss_cls", "lr", "base_lr", "data_time", "epoch", "coco/bbox_mAP"],
         {"loss": "loss", "learning_rate": "lr", "eval_metric": "coco/bbox_mAP"}),
        ("keras", ["epoch_loss", "epoch_accuracy", "epoch_learning_rate", "validation/epoch_loss",
                   "validation/epoch_accuracy", "validation/evaluation_loss_vs_iterations"],
         {"loss": "epoch_loss", "learning_rate": "epoch_learning_rate", "eval_loss": "validation/epoch_loss",
          "eval_metric": "validation/epoch_accuracy", "accuracy": "epoch_accuracy"}),
        ("keras", ["epoch_loss", "epoch_learning_rate_adam"], {"learning_rate": "epoch_learning_rate_adam"}),
        ("keras1", ["loss", "acc", "val_loss", "val_acc"],
         {"loss": "loss", "accuracy": "acc", "eval_loss": "val_loss", "eval_metric": "val_acc"}),
        ("tf-estimator", ["loss", "global_step/sec"], {"loss": "loss"}),
        ("halo-forge", ["cycle/success_rate", "cycle/avg_reward", "cycle/kept_samples", "cycle/training_loss",
                        "cycle/learning_rate"],
         {"verification_rate": "cycle/success_rate", "reward": "cycle/avg_reward", "loss": "cycle/training_loss",
          "learning_rate": "cycle/learning_rate"}),
        ("unknown", ["Loss/train", "Loss/val", "Accuracy/train"],
         {"loss": "Loss/train", "eval_loss": "Loss/val", "accuracy": "Accuracy/train"}),
        ("unknown", ["strict/foo", "images_per_day", "hp_metrics"], dict.fromkeys(ROLES)),
    ],
)  # fmt: skip
def test_each_trainer_is_known_and_its_tags_have_their_roles(
    table: RoleTable, dialect: str, tags: list[str], expected: dict[str, str | None]
) -> None:
    assert table.dialect_of(tags).name == dialect
    roles = roles_of(table, tags)
    assert {role: roles.get(role) for role in expected} == expected


def test_scales_and_directions_are_those_of_the_tag(table: RoleTable) -> None:
    legacy = ["train/loss", "train/lr(1e-3)", "val/loss"]
    assert table.assign(legacy, table.dialect_of(legacy))["learning_rate"] == RoleTag("train/lr(1e-3)", 0.001)

    a2c = ["rollout/ep_rew_mean", "train/entropy_loss"]
    assert table.assign(a2c, table.dialect_of(a2c))["entropy"] == RoleTag("train/entropy_loss", -1.0)
    assert table.assign(["train/entropy_loss"], UNKNOWN)["entropy"].scale == 1.0

    better = {tag: table.assign([tag], UNKNOWN)["eval_metric"].better for tag in ("val_rmse", "val_F1", "val_xyz")}
    assert better == {"val_rmse": "lower", "val_F1": "higher", "val_xyz": None}
    assert table.assign(["train/loss"], UNKNOWN)["loss"].better == "lower"


def test_dialects_say_what_their_steps_count(table: RoleTable) -> None:
    by_name = {dialect.name: dialect for dialect in table.dialects}
    assert {name: by_name[name].step_axis for name in ("hf", "deepspeed", "sb3", "keras", "halo-forge")} == {
        "hf": "optimizer_step", "deepspeed": "samples", "sb3": "env_steps", "keras": "epoch", "halo-forge": "cycle",
    }  # fmt: skip
    assert (by_name["hf"].max_grad_norm, by_name["lightning"].max_grad_norm) == (1.0, None)
    assert (by_name["trl-grpo"].scenario, by_name["trl-dpo"].scenario, by_name["hf"].scenario) == ("rl", "dpo", "any")
    assert len(by_name) == len(table.dialects)


def test_a_tag_plays_one_role_and_the_order_of_the_tags_is_no_matter(table: RoleTable) -> None:
    for tags in (HF + HF_END, GRPO, MEGATRON, VERL):
        forwards, backwards = (table.assign(order, table.dialect_of(order)) for order in (tags, tags[::-1]))
        assert list(forwards.items()) == list(backwards.items())
        played = [tag.tag for tag in forwards.values()]
        assert len(set(played)) == len(played)
        assert list(forwards) == [role for role in ROLES if role in forwards]


def test_duplicates_on_another_axis_and_placeholders_are_never_taken(table: RoleTable) -> None:
    for tag in ("lm loss vs samples", "learning-rate vs samples", "hp_metric", "_hparams_/session_start_info",
                "lr-Adam-momentum", "eval/runtime", "eval/steps_per_second", "val_loss_std"):  # fmt: skip
        assert table.assign([tag], UNKNOWN) == {}, tag


def test_the_users_own_tags_come_first() -> None:
    table, problems = load(
        extra={"my/quality": "verification_rate", "aux/*": "loss", "train/loss": "none", "x": "los", "y": "grad_nrom"}
    )

    roles = roles_of(table, ["my/quality", "aux/b", "aux/a", "train/loss", "cycle/success_rate", "train/grad_norm"])

    assert (roles["verification_rate"], roles["loss"]) == ("my/quality", "aux/a")
    assert roles["grad_norm"] == "train/grad_norm"
    assert "train/loss" not in roles.values()
    assert [problem.where for problem in problems] == ["settings: tags.x", "settings: tags.y"]
    assert problems[0].remedy.startswith("Did you mean `loss`?")


def test_defects_of_the_rule_files_are_told_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "tags.yaml").write_text(
        "schema: raftmon/tags@1\nroles:\n  loss:\n    meaning: loss\n    tags: [train/loss]\n    bettr: lower\n"
        "  los: {tags: [x]}\n"
    )
    (tmp_path / "dialects.yaml").write_text(
        "schema: raftmon/dialects@2\ndialects:\n"
        "  - {name: a, title: A, origin: a, scenario: sft, signature: [{all: [a]}], step_axis: epochs}\n"
        "  - {name: b, title: B, origin: b, scenario: sft, step_axis: epoch, signature: [{none: [a]}]}\n"
        "  - {name: c, title: C, scenario: sft, step_axis: epoch, signature: [{any: [c]}],\n"
        "     tags: [{tag: x, role: looss, skale: 2}]}\n"
    )
    table, problems = load(tmp_path)

    places = {problem.where.removeprefix(f"{tmp_path}/"): problem.what for problem in problems}
    assert places == {
        "tags.yaml:6:5": "`roles.loss.bettr` is not a key of this document",
        "tags.yaml:7:3": "`roles.los` is not a key of this document",
        "dialects.yaml:1:9": "`schema` is `raftmon/dialects@2`",
        "dialects.yaml:3:87": "`dialects[0].step_axis` is `epochs`",
        "dialects.yaml:4:81": "`dialects[1].signature[0]` fits every run",
        "dialects.yaml:5:5": "`dialects[2].origin` is missing",
        "dialects.yaml:6:28": "`dialects[2].tags[0].role` is `looss`",
        "dialects.yaml:6:35": "`dialects[2].tags[0].skale` is not a key of this document",
    }
    assert roles_of(table, ["train/loss"]) == {"loss": "train/loss"}


def test_without_rule_files_nothing_has_a_role(tmp_path: Path) -> None:
    table, problems = load(tmp_path)

    assert len(problems) == 2
    assert roles_of(table, HF) == {}
    assert table.dialect_of(HF) is UNKNOWN


FRAMEWORKS = {
    "HF-Trainer": "hf", "Lightning": "lightning", "verl(RLHF/GRPO)": "verl", "stable-baselines3": "sb3",
    "Megatron-LM": "megatron", "NeMo": "nemo", "Unity-ML-Agents": "mlagents", "tianshou": "tianshou",
    "Detectron2": "detectron2",
}  # fmt: skip


def test_every_real_run_has_its_dialect_and_its_roles(corpus: Path, table: RoleTable) -> None:
    with (corpus / "INDEX.tsv").open(encoding="utf-8") as index:
        framework_of = {
            corpus / row["repo"].replace("/", "+") / row["path"]: row["framework"]
            for row in csv.DictReader(index, delimiter="\t")
        }
    tags_of: dict[Path, set[str]] = {}
    for path in framework_of:
        if is_event_file_name(path.name):
            tags_of.setdefault(path.parent, set()).update(EventFile(path).read(64 << 20).scalars.tags)
    checked = set()
    for path, framework in framework_of.items():
        tags = tags_of.get(path.parent, set())
        expected = FRAMEWORKS.get(framework)
        if not tags or expected is None:
            continue
        roles = roles_of(table, tags)
        checked.add(expected)
        assert table.dialect_of(tags).name == expected, path
        assert "reward" in roles or "loss" in roles or "eval_metric" in roles, path
        assert ("learning_rate" in roles) == any("learning" in tag.lower() or "lr" in tag for tag in tags), path
        assert not any(tag.endswith("vs samples") or tag == "hp_metric" for tag in roles.values())
    assert checked == set(FRAMEWORKS.values())
