"""What the cycles of real trainers have in common: a task, its verifier, and a model of some ten thousand weights.

The task is adding digits. The completions are drawn, not generated: a model this young would get none right, and what
is proven here is the way of a learning rate from a config into a training, not the training.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

CHARACTERS: Final = "0123456789+="
PAD: Final = "<pad>"
END: Final = "<end>"
PROMPTS: Final = 40
SAMPLES_PER_PROMPT: Final = 4
LENGTH: Final = 8
"""Tokens of the longest sum, its end included: ``9+9=18``."""


@dataclass(frozen=True)
class Sample:
    """A prompt, what was answered, and whether that is right."""

    prompt: str
    completion: str
    success: bool


def generate_and_verify(cycle: int) -> list[Sample]:
    """Draw the answers of a cycle and check each sum; from cycle to cycle 5 % more of them are right."""
    draw = random.Random(cycle)
    samples = []
    for number in range(PROMPTS * SAMPLES_PER_PROMPT):
        left, right = divmod(number // SAMPLES_PER_PROMPT * 7 % 100, 10)
        error = 0 if number % 20 < 7 + cycle else draw.randint(1, 9)
        answer = str(left + right + error)
        samples.append(Sample(f"{left}+{right}=", answer, int(answer) == left + right))
    return samples


def write_verdicts(path: Path, samples: list[Sample]) -> None:
    """Write a file of verdicts as halo-forge does, the best samples first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for sample in sorted(samples, key=lambda sample: not sample.success):
            record = {"prompt": sample.prompt, "completion": sample.completion, "reward": float(sample.success)}
            file.write(json.dumps({**record, "success": sample.success}) + "\n")


def tokenizer() -> Any:
    """Return a tokenizer with a token per character, made on the spot: nothing is downloaded."""
    vocabulary = {token: number for number, token in enumerate([PAD, END, *CHARACTERS])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokens.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token=PAD, eos_token=END)


def model(checkpoint: Path) -> Any:
    """Return the model of the cycle before, or a random one where there is none."""
    if checkpoint.is_dir():
        return GPT2LMHeadModel.from_pretrained(checkpoint)
    tokens = {"vocab_size": 2 + len(CHARACTERS), "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=32, **tokens))
