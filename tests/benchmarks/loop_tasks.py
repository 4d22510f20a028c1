"""Three more tasks with a verifier that cannot be wrong: those that the closed loop is judged on.

Nothing in the rule set or the policy was chosen on them; `tests.campaign_tasks` holds the tasks to choose on.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.campaign_tasks import PROMPTS, Task

__all__ = ["JUDGED"]

_MOVES: Final = {"a": (1, 0), "b": (-1, 0), "c": (0, 1), "d": (0, -1)}
"""Letter of a step to where it leads."""
_STEPS: Final = (6, 7)


def _arrives(prompt: str, completion: str) -> bool:
    match = re.fullmatch(r"([+-]\d)([+-]\d),(\d)=", prompt)
    if match is None or len(completion) != int(match[3]) or not set(completion) <= set(_MOVES):
        return False
    x, y = (sum(_MOVES[step][axis] for step in completion) for axis in (0, 1))
    return (x, y) == (int(match[1]), int(match[2]))


def _walk(prompt: str, rng: random.Random) -> str:
    """Draw a walk: the steps that must be, pairs that cancel out, shuffled."""
    x, y, left = int(prompt[:2]), int(prompt[2:4]), int(prompt[5])
    steps = ["a" if x > 0 else "b"] * abs(x) + ["c" if y > 0 else "d"] * abs(y)
    while len(steps) < left:
        steps += rng.choice(("ab", "cd"))
    rng.shuffle(steps)
    return "".join(steps)


def _astray(answer: str, rng: random.Random) -> str:
    """Take one wrong step, one too few or one too many."""
    place = rng.randrange(len(answer))
    step = rng.choice("abcd")
    return f"{answer[:place]}{rng.choice((step, step, step + answer[place], ''))}{answer[place + 1 :]}"


def _targets() -> tuple[str, ...]:
    """The nearest places that a walk of each length can end at."""
    places = sorted(itertools.product(range(-3, 4), repeat=2), key=lambda place: (abs(place[0]) + abs(place[1]), place))
    found = []
    for steps in _STEPS:
        ends = [place for place in places if (sum(place) - steps) % 2 == 0]
        found += [f"{x:+d}{y:+d},{steps}=" for x, y in ends[: PROMPTS // len(_STEPS)]]
    return tuple(sorted(found))


def _groups(bits: str) -> int:
    return len(re.findall("1+", bits))


def _bit_texts() -> Mapping[str, Sequence[str]]:
    """Every text of 7 to 9 bits by its prompt: length, ones and groups of ones, ``8,4,2=``."""
    found: dict[str, list[str]] = defaultdict(list)
    for length in (7, 8, 9):
        for number in range(2**length):
            bits = f"{number:0{length}b}"
            found[f"{length},{bits.count('1')},{_groups(bits)}="].append(bits)
    return found


_BITS: Final = _bit_texts()


def _counts(prompt: str, completion: str) -> bool:
    length, ones, groups = (int(part) for part in prompt[:-1].split(","))
    wanted = set(completion) <= {"0", "1"} and len(completion) == length
    return wanted and completion.count("1") == ones and _groups(completion) == groups


def _bits(prompt: str, rng: random.Random) -> str:
    return rng.choice(_BITS[prompt])


def _flipped(answer: str, rng: random.Random) -> str:
    """Turn, leave out or repeat a bit."""
    place = rng.randrange(len(answer))
    here = answer[place]
    return f"{answer[:place]}{rng.choice((str(1 - int(here)),) * 2 + ('', here * 2))}{answer[place + 1 :]}"


def _bit_prompts() -> tuple[str, ...]:
    """Those with the most answers."""
    counted = sorted(_BITS.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(sorted(prompt for prompt, _ in counted[:PROMPTS]))


_COINS: Final = {"a": 1, "b": 2, "c": 5, "d": 10}
"""Letter of a coin to what it is worth."""


def _is_paid(prompt: str, completion: str) -> bool:
    """Tell whether the coins make up the sum, with as many of them as were asked for."""
    total, coins = (int(part) for part in prompt[:-1].split(","))
    if len(completion) != coins or not set(completion) <= set(_COINS):
        return False
    return sum(_COINS[coin] for coin in completion) == total


@functools.cache
def _payments() -> Mapping[str, Sequence[str]]:
    """Every handful of 5 to 7 coins by its prompt: sum and number, ``31,6=``."""
    found: dict[str, list[str]] = defaultdict(list)
    for coins in (5, 6, 7):
        for handful in itertools.combinations_with_replacement(sorted(_COINS), coins):
            total = sum(_COINS[coin] for coin in handful)
            if 10 <= total <= 49:
                found[f"{total},{coins}="].append("".join(handful))
    return found


def _payment(prompt: str, rng: random.Random) -> str:
    coins = list(rng.choice(_payments()[prompt]))
    rng.shuffle(coins)
    return "".join(coins)


def _mispaid(answer: str, rng: random.Random) -> str:
    """Exchange a coin, or pay one too few or too many."""
    place = rng.randrange(len(answer))
    coin = rng.choice("abcd")
    return f"{answer[:place]}{rng.choice((coin, coin, coin, coin + answer[place], ''))}{answer[place + 1 :]}"


def _sums() -> tuple[str, ...]:
    """Those with the most handfuls."""
    counted = sorted(_payments().items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(sorted(prompt for prompt, _ in counted[:PROMPTS]))


JUDGED: Final[Mapping[str, Callable[[], Task]]] = {
    "walks": lambda: Task("walks", _targets(), 9, _arrives, _walk, _astray, 0.75),
    "coins": lambda: Task("coins", _sums(), 9, _is_paid, _payment, _mispaid, 0.75),
    "bits": lambda: Task("bits", _bit_prompts(), 11, _counts, _bits, _flipped, 0.75),
}
