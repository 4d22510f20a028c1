"""One RAFT cycle with TRL's SFTTrainer, as a process of its own that reads its config through `TrlParser`.

usage: python -m tests.e2e.trl_cycle CONFIG CAMPAIGN CYCLE

It writes what `tests.e2e.hf_cycle` writes. `TrlParser` lets the command line win over the file, so that the directory,
which changes with the cycle, is given there and the file holds what stays.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer, TrlParser

from tests.e2e import tiny


@dataclass
class RaftArguments:
    """What the config says beside the settings of the SFTTrainer."""

    keep_top_percent: float = field(default=1.0, metadata={"help": "Share of the accepted samples to train on."})


def main(config: Path, campaign: Path, cycle: int) -> None:
    """Train one cycle."""
    directory = str(campaign / f"cycle_{cycle}")
    command_line = ["--config", str(config), "--output_dir", directory]
    raft, arguments = TrlParser([RaftArguments, SFTConfig]).parse_args_and_config(command_line)
    set_seed(cycle)
    samples = tiny.generate_and_verify(cycle)
    tiny.write_verdicts(campaign / f"cycle_{cycle}_verified.jsonl", samples)
    accepted = [sample for sample in samples if sample.success]
    kept = accepted[: int(len(accepted) * raft.keep_top_percent)]
    trainer = SFTTrainer(
        model=tiny.model(campaign / f"cycle_{cycle - 1}_final"),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": each.prompt, "completion": each.completion} for each in kept]),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    trainer.save_model(str(campaign / f"cycle_{cycle}_final"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
