"""One RAFT cycle with Hugging Face's Trainer, as a process of its own that reads its config when it starts.

usage: python -m tests.e2e.hf_cycle CONFIG CAMPAIGN CYCLE

Verify, filter, fine-tune. Below CAMPAIGN it writes ``cycle_N_verified.jsonl``, the event file wherever the installed
transformers puts it below ``cycle_N``, and ``cycle_N_final``, which the next cycle begins with.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, Trainer, TrainingArguments, default_data_collator, set_seed

from tests.e2e import tiny


@dataclass
class RaftArguments:
    """What the config says beside the settings of the Trainer."""

    keep_top_percent: float = field(default=1.0, metadata={"help": "Share of the accepted samples to train on."})


def examples(samples: list[tiny.Sample]) -> list[dict[str, Any]]:
    """Return the samples as token ids of one length; padding is no target."""
    tokens = tiny.tokenizer()
    texts = [sample.prompt + sample.completion + tiny.END for sample in samples]
    encoded = tokens(texts, padding="max_length", max_length=tiny.LENGTH)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": [t if m else -100 for t, m in zip(ids, mask, strict=True)]}
        for ids, mask in zip(encoded["input_ids"], encoded["attention_mask"], strict=True)
    ]


def main(config: Path, campaign: Path, cycle: int) -> None:
    """Train one cycle."""
    # As `parse_yaml_file` does it. The directory cannot come later: transformers 4 derives the event file's from it.
    settings = yaml.safe_load(config.read_text()) | {"output_dir": str(campaign / f"cycle_{cycle}")}
    raft, arguments = HfArgumentParser([RaftArguments, TrainingArguments]).parse_dict(settings)
    set_seed(cycle)
    samples = tiny.generate_and_verify(cycle)
    tiny.write_verdicts(campaign / f"cycle_{cycle}_verified.jsonl", samples)
    accepted = [sample for sample in samples if sample.success]
    trainer = Trainer(
        model=tiny.model(campaign / f"cycle_{cycle - 1}_final"),
        args=arguments,
        train_dataset=examples(accepted[: int(len(accepted) * raft.keep_top_percent)]),
        data_collator=default_data_collator,
    )
    trainer.train()
    trainer.save_model(str(campaign / f"cycle_{cycle}_final"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
