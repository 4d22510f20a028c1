"""Configurations: every source that a run may carry, which one wins, and none that can break the reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from raftmon.documents import flatten
from raftmon.events.tail import EventFile
from raftmon.model import Problem
from raftmon.run_config import RunConfig
from raftmon.runs.config_keys import normalised_optimizer, parameters_of
from raftmon.runs.sidecars import read_run_config, read_trainer_config

TRAINING_ARGUMENTS = {
    "output_dir": "models/raft/cycle_3",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 16,
    "learning_rate": 3.6125e-05,
    "max_grad_norm": 1.0,
    "max_steps": -1,
    "lr_scheduler_type": "linear",
    "warmup_steps": 10,
    "logging_steps": 1,
    "logging_strategy": "steps",
    "deepspeed": None,
    "fsdp_config": {"min_num_params": 0},
    "report_to": ["tensorboard"],
}


def read(
    run_dir: Path, texts: Mapping[str, str] | None = None, hparams: Mapping[str, object] | None = None
) -> RunConfig:
    problems: list[Problem] = []
    config = read_run_config(run_dir, texts or {}, hparams or {}, problems)
    assert problems == []
    return config


def args(**changes: object) -> dict[str, str]:
    return {"args/text_summary": json.dumps({**TRAINING_ARGUMENTS, **changes})}


def test_the_training_arguments_of_hugging_face(tmp_path: Path) -> None:
    assert read(tmp_path, args()) == RunConfig(
        learning_rate=3.6125e-05,
        max_grad_norm=1.0,
        warmup_steps=10,
        max_steps=None,
        batch_size=2,
        gradient_accumulation=16,
        scheduler="linear",
        logging_steps=1,
        source="args/text_summary",
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warmup_steps": 0, "warmup_ratio": 0.03, "max_steps": 500}, 15),
        ({"warmup_steps": 0, "warmup_ratio": 0.03, "max_steps": 501}, 16),
        ({"warmup_steps": 0, "warmup_ratio": 0.03}, None),
        ({"warmup_steps": 0, "warmup_ratio": 0.0}, 0),
        ({"warmup_steps": 20, "warmup_ratio": 0.03, "max_steps": 500}, 20),
        ({"warmup_steps": 0.1, "max_steps": 50}, 5),
        ({"warmup_steps": 0.1}, None),
        ({"warmup_steps": None}, None),
    ],
)
def test_warmup_as_steps_or_as_a_share(tmp_path: Path, changes: dict[str, object], expected: int | None) -> None:
    assert read(tmp_path, args(**changes)).warmup_steps == expected


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"max_steps": 120}, "max_steps", 120),
        ({"max_grad_norm": 0.0}, "max_grad_norm", 0.0),
        ({"max_grad_norm": "auto"}, "max_grad_norm", None),
        ({"learning_rate": "5e-5"}, "learning_rate", 5e-5),
        ({"learning_rate": float("nan")}, "learning_rate", None),
        ({"learning_rate": -1.0}, "learning_rate", None),
        ({"lr_scheduler_type": "SchedulerType.COSINE"}, "scheduler", "cosine"),
        ({"logging_strategy": "epoch"}, "logging_steps", None),
        ({"logging_steps": 0.05, "max_steps": 200}, "logging_steps", 10),
        ({"temperature": 0.9}, "temperature", 0.9),
        ({"lora_r": 64}, "lora_rank", 64),
        ({"gradient_accumulation_steps": 2.5}, "gradient_accumulation", None),
    ],
)
def test_single_training_arguments(tmp_path: Path, changes: dict[str, object], name: str, expected: object) -> None:
    assert getattr(read(tmp_path, args(**changes)), name) == expected


def test_hparams_yaml_of_lightning_is_composed_and_never_constructed(tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").write_text(
        "accumulate_grad_batches: 16\n"
        "callbacks:\n"
        "- !!python/object:pytorch_lightning.callbacks.early_stopping.EarlyStopping\n"
        "  best_score: !!python/object/apply:os._exit [3]\n"
        "encoder_learning_rate: 5.0e-06\n"
        "gradient_clip_val: 0.5\nlearning_rate: 3.0e-05\nlog_every_n_steps: 50\nmax_steps: -1\n"
        "per_device_train_batch_size: 8\nwarmup_steps: 200\n"
    )

    assert read(tmp_path) == RunConfig(
        learning_rate=3e-5,
        max_grad_norm=0.5,
        warmup_steps=200,
        batch_size=8,
        gradient_accumulation=16,
        logging_steps=50,
        source="hparams.yaml",
        several_rates=True,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer: {name: adam, lr: 1e-4}", RunConfig(learning_rate=1e-4, optimizer="adam")),
        ("lr: [2e-4, 1e-5]", RunConfig(learning_rate=2e-4)),
        ("lr: 0.001\ngradient_clip_val: 5\ngradient_clip_algorithm: value", RunConfig(learning_rate=1e-3)),
        (
            "cfg:\n  micro_batch_size: 4\n  optim:\n    lr: 2.0e-4\n"
            "    sched: {name: CosineAnnealing, warmup_steps: 1}",
            RunConfig(learning_rate=2e-4, warmup_steps=1, batch_size=4, scheduler="CosineAnnealing"),
        ),
        (
            "optimizer:\n  class_path: torch.optim.AdamW\n  init_args: {lr: 1e-5}\n"
            "trainer: {max_steps: 900, gradient_clip_val: 1.0, accumulate_grad_batches: 2}\n"
            "lr_scheduler: {class_path: torch.optim.lr_scheduler.OneCycleLR}",
            RunConfig(
                learning_rate=1e-5,
                max_steps=900,
                max_grad_norm=1.0,
                gradient_accumulation=2,
                scheduler="OneCycleLR",
                optimizer="adamw",
            ),
        ),
        ("{}", RunConfig()),
        ("- 1\n- 2", RunConfig()),
        ("", RunConfig()),
        ("learning_rate: null", RunConfig()),
    ],
)
def test_other_shapes_of_hparams(tmp_path: Path, text: str, expected: RunConfig) -> None:
    (tmp_path / "hparams.yaml").write_text(text)
    config = read(tmp_path)
    for name in RunConfig.__slots__:
        if name != "source":
            assert getattr(config, name) == getattr(expected, name), name


def test_ultralytics_chooses_the_rate_itself_when_its_optimizer_is_auto(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("lr0: 0.01\noptimizer: auto\nbatch: 16\n")
    assert (read(tmp_path).learning_rate, read(tmp_path).batch_size) == (None, 16)

    (tmp_path / "args.yaml").write_text("lr0: 0.01\noptimizer: SGD\nbatch: -1\n")
    assert (read(tmp_path).learning_rate, read(tmp_path).batch_size) == (0.01, None)


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (
            "args/text_summary",
            "Namespace(task='lr=9', lr=5e-05, hidden=[512, 64], max_grad_norm=0.5, dev=<o at 0x7>, batch_size=256)",
            RunConfig(learning_rate=5e-5, max_grad_norm=0.5, batch_size=256),
        ),
        (
            "hyperparameters/text_summary",
            "|param|value|\n|-|-|\n|learning_rate|0.00025|\n| max_grad_norm | 0.5 |\n|seed|1|",
            RunConfig(learning_rate=2.5e-4, max_grad_norm=0.5),
        ),
        (
            "Hyperparameters/text_summary",
            "\ttrainer_type:\tppo\n\thyperparameters:\t\n\t  batch_size:\t2048\n\t  learning_rate:\t0.0003\n"
            "\t  learning_rate_schedule:\tlinear\n\tmax_steps:\t500000",
            RunConfig(learning_rate=3e-4, batch_size=2048, scheduler="linear"),
        ),
        ("config/text_summary", "training:\n  learning_rate: 1e-4\n  warmup_steps: 3",
         RunConfig(learning_rate=1e-4, warmup_steps=3)),
        ("args/text_summary", "no configuration: at all: [", RunConfig()),
        ("notes/text_summary", '{"learning_rate": 1.0}', RunConfig()),
    ],
)  # fmt: skip
def test_other_text_summaries(tmp_path: Path, tag: str, text: str, expected: RunConfig) -> None:
    config = read(tmp_path, {tag: text})
    for name in RunConfig.__slots__:
        if name != "source":
            assert getattr(config, name) == getattr(expected, name), name


def test_megatron_writes_one_text_per_argument_and_may_count_warmup_in_samples(tmp_path: Path) -> None:
    texts = {
        f"{name}/text_summary": value
        for name, value in {
            "lr": "0.001", "clip_grad": "1.0", "lr_decay_style": "WSD", "lr_warmup_iters": "0",
            "lr_warmup_samples": "320", "lr_warmup_fraction": "None", "global_batch_size": "16",
            "rampup_batch_size": "None", "micro_batch_size": "2", "train_iters": "100",
        }.items()
    }  # fmt: skip

    config = read(tmp_path, texts)
    assert (config.learning_rate, config.max_grad_norm, config.warmup_steps, config.max_steps) == (1e-3, 1.0, 20, 100)
    assert (config.scheduler, config.source) == ("wsd", "text summaries")
    texts["rampup_batch_size/text_summary"] = "['32', '32', '1953125']"
    assert read(tmp_path, texts).warmup_steps is None


def test_the_text_of_the_run_itself_wins_over_every_other_source(tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").write_text("learning_rate: 1e-1\nlora_rank: 8\nwarmup_ratio: 0.5\nmax_steps: 70\n")

    config = read(tmp_path, args(warmup_steps=0), {"lr": 1e-2, "temperature": 0.7, "ignored": None})

    assert (config.learning_rate, config.temperature, config.lora_rank, config.max_steps) == (3.6125e-05, 0.7, 8, 70)
    assert config.warmup_steps == 0
    assert config.source == "args/text_summary, hparams, hparams.yaml"


def test_hparams_of_the_plugin_may_be_nested_by_slashes(tmp_path: Path) -> None:
    config = read(tmp_path, hparams={"optimizer/lr": 0.002, "batch_size": 32.0, "use_amp": True})
    assert (config.learning_rate, config.batch_size, config.source) == (0.002, 32, "hparams")


@pytest.mark.parametrize("logs", ["cycle_3/logs", "cycle_3/runs/Jan01_00-00-00_host", "cycle_3"])
def test_checkpoints_tell_the_planned_steps_and_the_lora_rank(tmp_path: Path, logs: str) -> None:
    run_dir = tmp_path / logs
    run_dir.mkdir(parents=True)
    for number, steps in ((100, 90), (500, 1600)):
        checkpoint = tmp_path / "cycle_3" / f"checkpoint-{number}"
        checkpoint.mkdir()
        state = {"max_steps": steps, "log_history": [{"loss": float("nan"), "learning_rate": 9.0}]}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    final = tmp_path / "cycle_3_final"
    final.mkdir()
    (final / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 32}))

    config = read(run_dir, args(warmup_steps=0, warmup_ratio=0.01))

    assert (config.max_steps, config.warmup_steps, config.lora_rank, config.lora_alpha) == (1600, 16, 16, 32)
    assert (config.method, config.use_rslora) == ("lora", None)
    assert config.source == "args/text_summary, checkpoint-500/trainer_state.json, cycle_3_final/adapter_config.json"


def test_broken_sources_are_problems_and_the_others_still_count(tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").write_text("lr: [1e-4\n")
    (tmp_path / "config.yaml").write_bytes(b"lr: \xff\n")
    (tmp_path / "args.yaml").write_text("lr: 7e-4\n")
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "trainer_state.json").write_text("[" * 100_000)
    (tmp_path / "adapter_config.json").write_text('["r"]')
    problems: list[Problem] = []

    config = read_run_config(tmp_path, {"args/text_summary": '{"learning_rate": 5e-5, '}, {}, problems)

    assert (config.learning_rate, config.source) == (7e-4, "args.yaml")
    assert [problem.where.removeprefix(f"{tmp_path}") for problem in problems] == [
        ": args/text_summary",
        "/hparams.yaml:2:1",
        "/config.yaml",
        "/checkpoint-1/trainer_state.json",
    ]
    assert all(problem.what and problem.remedy for problem in problems)


def test_a_directory_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "gone" / "logs") == RunConfig()


def test_real_runs(corpus: Path) -> None:
    def config_of(pattern: str) -> RunConfig:
        (file,) = sorted(corpus.glob(pattern))[:1]
        update = EventFile(file).read(64 << 20)
        return read(file.parent, {text.tag: text.text for text in update.texts}, update.hparams)

    swift = config_of("modelscope+ms-swift/**/v0-*/runs/*/events*")
    assert (swift.learning_rate, swift.max_grad_norm, swift.gradient_accumulation) == (1e-4, 0.5, 16)
    assert (swift.warmup_steps, swift.scheduler) == (None, "cosine")
    protbert = config_of("arashmozhdeh+Protbert/lightning_logs/version_23191179/events*")
    assert (protbert.learning_rate, protbert.warmup_steps, protbert.gradient_accumulation) == (3e-5, 200, 16)
    grid = config_of("realhugoviana+SLA-prediction/tb_logs/my_model/version_9/events*")
    assert grid.learning_rate == 0.1
    nemo = config_of("NVIDIA+NeMo/examples/nlp/language_modeling/**/version_0/events*")
    assert (nemo.learning_rate, nemo.warmup_steps) == (2e-4, 1)
    pong = config_of("thu-ml+tianshou/**/ppo/events*")
    assert (pong.learning_rate, pong.max_grad_norm) == (5e-5, 0.5)
    soccer = config_of("Awesommesh+SoccerPPO/results/poca/SoccerAgent/events*")
    assert (soccer.learning_rate, soccer.scheduler, soccer.max_steps) == (5e-5, "constant", None)
    megatron = config_of("NVIDIA+Megatron-LM/tensorboard/gpt3-357m/events*")
    assert (megatron.learning_rate, megatron.warmup_steps, megatron.max_steps) == (3e-4, None, 764979)


DIALECTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "halo-forge": (
        "num_cycles: 6\nlr_decay_per_cycle: 0.85\ngeneration: {temperature: 0.7}\nlora: {r: 16, alpha: 32}\n"
        "training: {learning_rate: 5e-5, batch_size: 2, gradient_accumulation_steps: 16, warmup_steps: 10,\n"
        "  max_grad_norm: 0.3, epochs: 1}\nmodel: {name: Qwen/Qwen2.5-Coder-3B}\n",
        {"learning_rate": 5e-5, "effective_batch": 32, "warmup_steps": 10, "max_grad_norm": None, "lora_rank": 16,
         "lora_alpha": 32.0, "stage": "raft", "method": "lora", "temperature": 0.7, "model_parameters": 3e9},
    ),
    "malagent": (
        "raft: {model: {base: Qwen/Qwen2.5-0.5B}, training: {learning_rate: 5.0e-5, batch_size: 4,"
        " gradient_accumulation: 8}, generation: {temperature: 0.8}}",
        {"learning_rate": 5e-5, "effective_batch": 32, "stage": "raft", "temperature": 0.8},
    ),
    "axolotl": (
        "base_model: meta-llama/Llama-3.1-8B\nadapter: qlora\nlora_r: 32\nlora_alpha: 16\npeft_use_rslora: true\n"
        "optimizer: adamw_bnb_8bit\nlr_scheduler: cosine\nmicro_batch_size: 2\ngradient_accumulation_steps: 4\n"
        "num_epochs: 3\nrl: dpo\nweight_decay: 0.0\n",
        {"method": "lora", "use_rslora": True, "optimizer": "adamw", "epochs": 3.0, "stage": "dpo",
         "model_parameters": 8e9, "weight_decay": 0.0},
    ),
    "llama-factory": (
        "stage: sft\nfinetuning_type: full\nlora_rank: 8\nlearning_rate: 1.0e-5\nnum_train_epochs: 2.0\n"
        "adam_beta2: 0.95\n",
        {"stage": "sft", "method": "full", "lora_rank": None, "beta2": 0.95, "epochs": 2.0},
    ),
    "torchtune": (
        "model: {_component_: torchtune.models.llama3.lora_llama3_8b, lora_rank: 8, lora_alpha: 16}\n"
        "optimizer: {_component_: torch.optim.AdamW, lr: 3e-4, weight_decay: 0.01, fused: True}\n"
        "lr_scheduler: {_component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup,"
        " num_warmup_steps: 100}\n",
        {"learning_rate": 3e-4, "optimizer": "adamw", "weight_decay": 0.01, "warmup_steps": 100, "lora_alpha": 16.0},
    ),
    "lightning": (
        "trainer: {max_epochs: 4, devices: auto}\noptimizer: {class_path: torch.optim.SGD,"
        " init_args: {lr: 0.1, weight_decay: 1e-4}}\n",
        {"optimizer": "sgd", "epochs": 4.0, "devices": None, "weight_decay": 1e-4},
    ),
    "verl": (
        "actor_rollout_ref: {actor: {optim: {lr: 1e-6, betas: [0.9, 0.999], lr_warmup_steps: -1,"
        " lr_warmup_steps_ratio: 0.1}, ppo_mini_batch_size: 256, grad_clip: 1.0}, model: {lora_rank: 0,"
        " path: Qwen/Qwen3-30B-A3B}, rollout: {temperature: 1.0}}\ntrainer: {total_training_steps: 400}\n",
        {"learning_rate": 1e-6, "beta2": 0.999, "warmup_steps": 40, "effective_batch": 256, "max_grad_norm": 1.0,
         "method": "full", "model_parameters": None, "temperature": 1.0, "stage": "rl"},
    ),
    "schedule": (
        "learning_rate: 1.0e-4\nschedule: {temperature: 0.8}\n",
        {"temperature": None, "schedule_temperature": 0.8, "several_rates": None},
    ),
    "groups": (
        "model: {encoder_learning_rate: 5.0e-6, learning_rate: 3.0e-5}\nmin_lr: 1.0e-6\n",
        {"learning_rate": 3e-5, "several_rates": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_config_files_of_trainers(tmp_path: Path, dialect: str) -> None:
    text, expected = DIALECTS[dialect]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    problems: list[Problem] = []
    read = read_trainer_config(path, problems)
    assert read is not None
    assert {name: getattr(read[0], name) for name in expected} == expected
    assert problems == []


def test_a_config_file_in_json(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(
        '{\n\t"train_batch_size": 64,\n\t"gradient_clipping": 1.0,\n'
        '\t"optimizer": {"type": "OneBitAdam", "params": {"lr": 3e-5, "betas": [0.9, 0.95]}}}'
    )
    read = read_trainer_config(path, [])
    assert read is not None
    config, node = read
    assert (config.learning_rate, config.global_batch_size, config.beta2) == (3e-5, 64, 0.95)
    assert flatten(node)["optimizer.params.lr"] == "3e-5"
    assert config.optimizer == "onebitadam"


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("adamw_torch_fused", "adamw"),
        ("OptimizerNames.PAGED_ADAMW_8BIT", "adamw"),
        ("bitsandbytes.optim.PagedAdamW8bit", "adamw"),
        ("torch.optim.SGD", "sgd"),
        ("galore_adamw", "galore_adamw"),
        ("Adafactor", "adafactor"),
        ("auto", None),
        ("", None),
    ],
)
def test_an_optimizer_in_one_word(written: str, word: str | None) -> None:
    assert normalised_optimizer(written) == word


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", 0.5e9),
        ("meta-llama/Llama-3.1-8B", 8e9),
        ("mistralai/Mixtral-8x7B-v0.1", None),
        ("Qwen/Qwen3-235B-A22B", None),
        ("EleutherAI/pythia-160m", 160e6),
        ("models/my-model", None),
        ("124439808", 124439808.0),
        ("7", None),
    ],
)
def test_the_size_of_a_model(written: str, count: float | None) -> None:
    assert parameters_of(written) == count
