"""The toy campaign, its recording, and the replay."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raftmon.demo.arithmetic import ALPHABET, LONGEST_COMPLETION, PROMPTS, example, judge
from raftmon.demo.replay import RECORDING, replay, start_replay
from raftmon.errors import RaftmonError
from raftmon.events.framing import Framer
from raftmon.events.tail import EventFile
from tests.scripted import block_of, event, record, simple


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Enough(Exception):
    """Ends a replay in the middle."""


def contents(directory: Path) -> dict[str, bytes]:
    """Name to content of every file of a campaign, unpacked."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "README.md")
    return {
        path.relative_to(directory).as_posix().removesuffix(".gz"): (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        )
        for path in files
    }


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("23+34", 1.0),
        ("34+23", 1.0),
        ("80-23", 1.0),
        ("23*2+11", 1.0),
        ("87-23-7", 1.0),
        ("23+35", 0.5),
        ("22+35", 0.5),
        ("57", 0.0),
        ("23+", 0.0),
        ("", 0.0),
        ("+23+34", 0.0),
        ("23+34+", 0.0),
    ],
)
def test_the_verifier_works_expressions_out(completion: str, reward: float) -> None:
    assert judge("57,23=", completion) == reward


def test_an_operand_is_a_number_not_a_part_of_one() -> None:
    assert judge("57,23=", "123-66") == 0.5


def test_clean_examples_are_right_and_fit() -> None:
    rng = random.Random(1)
    pairs = [example(rng, noise=0.0) for _ in range(300)]
    assert {judge(*pair) for pair in pairs} == {1.0}
    assert {prompt for prompt, _ in pairs} <= set(PROMPTS)
    assert set("".join(completion for _, completion in pairs)) <= set(ALPHABET)
    assert max(len(completion) for _, completion in pairs) <= LONGEST_COMPLETION


def test_noisy_examples_are_mostly_wrong() -> None:
    rng = random.Random(1)
    rewards = [judge(*example(rng, noise=1.0)) for _ in range(300)]
    assert rewards.count(1.0) < 30
    assert rewards.count(0.5) > 100
    assert rewards.count(0.0) > 50


def test_a_replay_ends_with_the_bytes_of_the_recording(tmp_path: Path) -> None:
    clock = Clock()
    replay(RECORDING, tmp_path / "raft", seconds=60, clock=clock, sleep=clock.sleep)
    assert contents(tmp_path / "raft") == contents(RECORDING)
    assert 155 < clock.now <= 160


def test_half_of_a_replay_is_a_prefix(tmp_path: Path) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 130:
            raise Enough

    with pytest.raises(Enough):
        replay(RECORDING, tmp_path, seconds=60, clock=clock, sleep=sleep)
    whole, half = contents(RECORDING), contents(tmp_path)
    assert all(whole[name].startswith(content) for name, content in half.items())
    assert 0.4 * len(whole) <= len(half) <= 0.6 * len(whole)
    names = sorted(half, key=lambda name: int(name.split("/")[0].split("_")[1]))
    assert names[0].startswith("cycle_1")
    assert all(half[name] == whole[name] for name in names if name.split("/")[0].split("_")[1] == "1")


def test_files_end_at_records_and_lines_all_the_time(tmp_path: Path) -> None:
    clock = Clock()
    looks = 0

    def look(seconds: float) -> None:
        nonlocal looks
        clock.sleep(seconds)
        if (looks := looks + 1) % 50:
            return
        for name, content in contents(tmp_path).items():
            assert (
                Framer().frame(block_of(content), 0, len(content), len(content)).end == len(content)
                if "tfevents" in name
                else content.endswith(b"\n")
            )

    replay(RECORDING, tmp_path, seconds=60, clock=clock, sleep=look)
    assert looks > 500


def test_a_cycle_is_verified_then_trained_then_tried(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    (recording / "cycle_2" / "logs").mkdir(parents=True)
    (recording / "cycle_10").mkdir()
    event_file = recording / "cycle_2" / "logs" / "events.out.tfevents.1.vm.1.0"
    event_file.write_bytes(record(event([simple("train/loss", 1.0)])) + b"\x05torn")
    (recording / "cycle_2_verified.jsonl").write_bytes(b'{"success":true}\n{"success":false}')
    (recording / "cycle_2_heldout.jsonl.gz").write_bytes(gzip.compress(b'{"success":true}\n'))
    (recording / "cycle_10_verified.jsonl").write_bytes(b"{}\n")
    clock, target, seen = Clock(), tmp_path / "target", list[tuple[float, list[str]]]()

    def sleep(seconds: float) -> None:
        seen.append((clock.now, sorted(contents(target))))
        clock.sleep(seconds)

    replay(recording, target, seconds=20, clock=clock, sleep=sleep)
    events, verified = "cycle_2/logs/events.out.tfevents.1.vm.1.0", "cycle_2_verified.jsonl"
    assert seen == [
        (100.0, [verified]),
        (102.5, [events, verified]),
        (105.5, [events, verified]),
        (108.5, [events, "cycle_2_heldout.jsonl", verified]),
    ]
    assert contents(target) == contents(recording)


@pytest.mark.parametrize("there", ["cycle_1", "cycle_3_verified.jsonl"])
def test_a_replay_does_not_write_into_a_campaign(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(RaftmonError, match="a campaign already"):
        replay(RECORDING, tmp_path, seconds=0)


def test_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(RaftmonError, match="no recorded campaign"):
        replay(tmp_path, tmp_path / "target", seconds=0)


def test_the_replaying_process_ends_cleanly_when_terminated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raftmon.demo.replay", str(tmp_path), "--seconds", "3600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        first = tmp_path / "cycle_1_verified.jsonl"
        while not first.is_file():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert first.read_bytes() != b""


def test_start_replay_writes_the_recording(tmp_path: Path) -> None:
    with start_replay(tmp_path, 0.0) as process:
        assert process.wait(60) == 0
    assert contents(tmp_path) == contents(RECORDING)


def test_the_replay_needs_neither_torch_nor_textual() -> None:
    check = "import raftmon.demo.replay, sys; print([m for m in ('torch', 'textual', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def rates(kind: str) -> list[float]:
    """The recorded share of accepted samples, cycle by cycle."""
    found = []
    for cycle in range(1, len(list(RECORDING.glob(f"cycle_*_{kind}.jsonl.gz"))) + 1):
        lines = gzip.decompress((RECORDING / f"cycle_{cycle}_{kind}.jsonl.gz").read_bytes()).splitlines()
        samples = [json.loads(line) for line in lines]
        assert all(judge(sample["prompt"], sample["completion"]) == sample["reward"] for sample in samples)
        assert all(sample["success"] == (sample["reward"] == 1.0) for sample in samples)
        found.append(sum(sample["success"] for sample in samples) / len(samples))
    return found


def test_the_recorded_campaign_peaks_in_the_middle_and_comes_apart() -> None:
    held_out, verified = rates("heldout"), rates("verified")
    assert len(held_out) == len(verified) == 10
    best = max(range(10), key=held_out.__getitem__)
    assert 3 <= best <= 6
    assert held_out[best] > held_out[0] + 0.1
    assert max(held_out[-3:]) < 0.7 * held_out[best]
    assert verified[-1] < 0.7 * max(verified)


def test_the_readme_of_the_recording_gives_its_rates() -> None:
    rows = (RECORDING / "README.md").read_text().replace("*", "").splitlines()
    told = [[float(cell) for cell in row.split("|")[2:4]] for row in rows if row.startswith("| ") and "." in row]
    assert [row[0] for row in told] == [round(rate, 3) for rate in rates("verified")]
    assert [row[1] for row in told] == [round(rate, 3) for rate in rates("heldout")]


def test_the_recording_is_small() -> None:
    assert sum(path.stat().st_size for path in RECORDING.rglob("*") if path.is_file()) < 600_000


def test_every_cycle_logs_what_a_trainer_logs() -> None:
    for cycle in range(1, 11):
        (path,) = (RECORDING / f"cycle_{cycle}" / "logs").iterdir()
        batch = EventFile(path).read().scalars
        points = {tag: batch.tag_id == number for number, tag in enumerate(batch.tags)}
        steps = {tag: batch.step[chosen].tolist() for tag, chosen in points.items()}
        for name in ("loss", "grad_norm", "learning_rate", "entropy"):
            assert steps[f"train/{name}"] == list(range(1, 22))
        assert steps["train/train_runtime"] == steps["train/train_loss"] == [21]
        first_rate = batch.value[points["train/learning_rate"]][0]
        assert first_rate == pytest.approx(1.2e-3)


def test_training_without_torch_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from raftmon.errors import RaftmonError\n"
        "try: import raftmon.demo.train\n"
        "except RaftmonError as error: print(error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'pip install "raftmon[torch]"'


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The training module, made so small that a campaign takes a second."""
    pytest.importorskip("torch")
    from raftmon.demo import train

    sizes = {"PRETRAINING_STEPS": 5, "PROMPTS_PER_CYCLE": 2, "SAMPLES_PER_PROMPT": 4, "HELD_OUT_PROMPTS": 3}
    for name, size in {**sizes, "SAMPLES_PER_HELD_OUT_PROMPT": 2}.items():
        monkeypatch.setattr(train, name, size)
    return train


def run_tiny(train: ModuleType, out: Path, seed: int = 1) -> list[str]:
    said: list[str] = []
    train.train_campaign(out, cycles=2, learning_rate=1e-3, temperature=0.7, seed=seed, report=said.append)
    return said


def test_a_campaign_leaves_what_a_trainer_leaves(tiny: ModuleType, tmp_path: Path) -> None:
    said = run_tiny(tiny, tmp_path)
    assert len(said) == 3
    names = sorted(name if "tfevents" not in name else "events" for name in contents(tmp_path))
    sidecars = [f"cycle_{cycle}_{kind}.jsonl" for cycle in (1, 2) for kind in ("heldout", "verified")]
    assert names == sorted([*sidecars, "events", "events"])
    assert [len(contents(tmp_path)[name].splitlines()) for name in sidecars] == [6, 8, 6, 8]


def test_a_campaign_is_decided_by_its_seed(tiny: ModuleType, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_tiny(tiny, tmp_path / name, seed)
    first, second, other = (
        {name: content for name, content in contents(tmp_path / run).items() if "jsonl" in name} for run in "abc"
    )
    assert first == second != other


def test_accepted_samples_are_trained_on(tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "judge", lambda *_: 1.0)
    monkeypatch.setattr(tiny, "BATCH", 3)
    run_tiny(tiny, tmp_path)
    (path,) = (tmp_path / "cycle_2" / "logs").iterdir()
    batch = EventFile(path).read().scalars
    rates = batch.value[batch.tag_id == batch.tags.index("train/learning_rate")]
    assert rates.tolist() == pytest.approx([1e-3, 1e-3 * 2 / 3, 1e-3 / 3])
    norms = batch.value[batch.tag_id == batch.tags.index("train/grad_norm")]
    assert (norms > 0).all()


def test_training_does_not_write_into_a_campaign(tiny: ModuleType, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "cycle_1").mkdir()
    assert tiny.main([str(tmp_path)]) == 2
    assert "a campaign already" in capsys.readouterr().err
