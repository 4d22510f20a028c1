"""`raftmon lint` on configs that are good as they are: it has nothing to say, or says it as a mere note."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.lint import lint_config
from raftmon.documents import flatten
from raftmon.model import Problem
from raftmon.runs.json_places import compose_json
from raftmon.runs.trainer_marks import clips, cycle_decay, method_without_a_key, stage_of
from tests.test_lint import CLAIMS, RULES

CONFIGS = sorted((Path(__file__).parent / "good_configs").iterdir())
CORPUS = Path(os.environ.get("RAFTMON_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
AXOLOTL = {"base_model": "m", "micro_batch_size": "1", "sequence_len": "1"}
STAGES = {
    "axolotl_full.yaml": ("sft", "full"),
    "axolotl_lora.yaml": ("sft", "lora"),
    "halo_forge.yaml": ("raft", "lora"),
    "llama_factory_lora.yaml": ("sft", "lora"),
    "malagent.yaml": ("raft", None),
    "megatron_pretrain.yaml": ("pretrain", "full"),
    "sentence_transformers.yaml": ("embedding", "full"),
    "torchtune_full.yaml": ("sft", "full"),
    "torchtune_lora.yaml": ("sft", "lora"),
    "trl_dpo.yaml": ("dpo", "full"),
    "trl_grpo.yaml": ("rl", "full"),
    "trl_sft.yaml": ("sft", "lora"),
    "verl_grpo.yaml": ("rl", "full"),
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_good_configs_of_many_trainers_get_no_alarm(path: Path) -> None:
    problems: list[Problem] = []
    report = lint_config(path, RULES, CLAIMS, problems)
    assert problems == []
    assert report is not None
    assert {remark.rule for remark in report.remarks} <= {"yaml-text-for-number"}
    assert {remark.severity for remark in report.remarks} <= {"informational"}
    assert (report.config.stage, report.config.method) == STAGES.get(path.name, (None, None))
    assert (report.reference is not None) == (None not in STAGES.get(path.name, (None, None)))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here")
def test_configs_that_others_stored_beside_their_runs() -> None:
    paths = [path for ending in ("*.yaml", "*.yml", "*.json") for path in sorted(CORPUS.rglob(ending))]
    for path in paths:
        report = lint_config(path, RULES, CLAIMS, [])
        for remark in report.remarks if report is not None else ():
            assert remark.severity in ("informational", "low"), (path, remark)
            assert remark.where.startswith(f"{path}:")


@given(JSON, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_has_the_places_of_its_text(value: object, indent: int | str | None, escaped: bool) -> None:
    text = json.dumps({"a": value}, indent=indent, ensure_ascii=escaped)
    node = compose_json(text, "f")
    lines = text.split("\n")
    stack = [node]
    while stack:
        node = stack.pop()
        assert node is not None
        rest = lines[node.start_mark.line][node.start_mark.column :]
        if isinstance(node.value, str):
            decoded, _ = json.JSONDecoder().raw_decode(rest)
            assert decoded == node.value or str(decoded).lower() == node.value or json.loads(node.value) == decoded
        else:
            assert rest[0] in "{["
            stack.extend(item for entry in node.value for item in (entry if isinstance(entry, tuple) else (entry,)))
    if isinstance(value, str):
        assert flatten(compose_json(text, "f")) == {"a": value}


@pytest.mark.parametrize(
    ("flat", "stage", "method"),
    [
        ({"stage": "sft", **AXOLOTL}, "sft", "full"),
        ({**AXOLOTL, "datasets.0.path": "p", "rl": "orpo"}, "dpo", "full"),
        ({**AXOLOTL, "pretraining_dataset": "c4"}, "pretrain", "full"),
        ({**AXOLOTL, "datasets.0.path": "p", "datasets.0.type": "completion"}, None, "full"),
        ({**AXOLOTL, "adapter": "qlora"}, None, None),
        ({"model._component_": "torchtune.models.qlora_qwen2_7b", "loss._component_": "DPOLoss"}, "dpo", "lora"),
        ({"model._component_": "my.models.lora_net"}, None, None),
        ({"task_type": "embedding"}, "embedding", None),
        ({"batch_sampler": "my.Sampler"}, None, None),
        ({"learning_rate": "1e-4"}, None, None),
    ],
)  # fmt: skip
def test_what_the_keys_of_a_trainer_tell(flat: dict[str, str], stage: str | None, method: str | None) -> None:
    assert (stage_of(flat), method_without_a_key(flat)) == (stage, method)


@pytest.mark.parametrize(
    ("flat", "decay"),
    [
        ({"num_cycles": "6", "training.learning_rate": "5e-5"}, 0.85),
        ({"num_cycles": "6", "training.learning_rate": "5e-5", "lr_decay_per_cycle": "1.0"}, 0.85),
        ({"num_cycles": "6", "training.lr_decay_factor": "0.7"}, 0.7),
        ({"num_cycles": "6", "training.lr_decay_factor": "0.7", "lr_decay_per_cycle": "0.9"}, 0.7),
        ({"num_cycles": "6", "training.lr_decay_per_cycle": "1.0"}, 0.85),
        ({"raft.cycles": "6", "raft.training.learning_rate": "5e-5"}, 1.0),
        ({"num_raft_iteration": "20"}, 1.0),
        ({"num_cycles": "6"}, None),
    ],
)
def test_the_decay_between_cycles_that_is_in_force(flat: dict[str, str], decay: float | None) -> None:
    assert cycle_decay(flat) == decay


def test_what_clips_without_being_told_is_not_guessed() -> None:
    assert clips({"learning_rate": "1e-4", "per_device_train_batch_size": "1"}) is None
    assert clips({"trainer.max_epochs": "1"}) is None
    assert clips({"trainer.max_epochs": "1", "model.class_path": "x"}) is False
