"""GPUs: what their drivers tell, what is made of it, and a driver that hangs, refuses or is not there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raftmon.gpus.amd import AmdGpus
from raftmon.gpus.nvidia import NvidiaGpus
from raftmon.gpus.samples import KEPT, STALE_SECONDS, Samples
from raftmon.gpus.watch import MOST_FAILURES, GpuReader, GpuWatch, find_readers, watch_gpus
from raftmon.model import GpuView

H100 = "NVIDIA H100 80GB HBM3"


class NVMLError(Exception):
    """As pynvml has it."""


class FakeNvml:
    """Two GPUs; what is named in `refused` raises, `lost` are those that fell off the bus."""

    NVMLError: type[Exception] = NVMLError

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.lost: set[int] = set()
        self.starts = 0

    def _answer(self, question: str, answer: Any) -> Any:
        if question in self.refused:
            raise NVMLError(question)
        return answer

    def nvmlInit(self) -> None:  # noqa: N802
        self.starts += 1
        self._answer("init", None)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return int(self._answer("count", 2))

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self.lost:
            raise NVMLError("lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        answer: str | bytes = self._answer("name", b"NVIDIA A30" if handle else H100)
        return answer

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return self._answer("utilisation", SimpleNamespace(gpu=97, memory=40))

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return self._answer("memory", SimpleNamespace(total=80 * 10**9, free=19 * 10**9, used=61 * 10**9))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return int(self._answer("power", 412_345))

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        assert sensor == 0
        return int(self._answer("temperature", 71))


def test_nvidia_tells_all_in_our_units() -> None:
    first, second = NvidiaGpus(FakeNvml()).read()
    assert first == GpuView(0, H100, 0.97, 61 * 10**9, 80 * 10**9, 412.345, 71.0)
    assert (second.index, second.name) == (1, "NVIDIA A30")


def test_what_nvidia_refuses_is_not_known() -> None:
    refused = ("name", "utilisation", "memory", "power", "temperature")
    assert NvidiaGpus(FakeNvml(*refused)).read() == [GpuView(0, "NVIDIA GPU"), GpuView(1, "NVIDIA GPU")]


def test_a_lost_gpu_keeps_its_name_and_its_neighbours_go_on() -> None:
    nvml = FakeNvml()
    gpus = NvidiaGpus(nvml)
    gpus.read()
    nvml.lost = {1}
    assert [view.utilisation for view in gpus.read()] == [0.97, None]
    assert gpus.read()[1] == GpuView(1, "NVIDIA A30")

    nvml.lost, nvml.refused = {0, 1}, {"count"}
    assert gpus.read() == [GpuView(0, H100), GpuView(1, "NVIDIA A30")]


def test_a_gpu_that_was_never_there_is_left_out() -> None:
    nvml = FakeNvml()
    nvml.lost = {0}
    assert [view.index for view in NvidiaGpus(nvml).read()] == [1]


def test_a_release_without_a_question_leaves_that_figure_out() -> None:
    class Old(FakeNvml):
        def __getattribute__(self, name: str) -> Any:
            if name == "nvmlDeviceGetTemperature":
                raise AttributeError(name)
            return super().__getattribute__(name)

    assert NvidiaGpus(Old()).read()[0].temperature is None
    assert NvidiaGpus(Old()).read()[0].power == 412.345


def card(drm: Path, name: str, vendor: str = "0x1002", **files: str) -> Path:
    """A card as the kernel shows it; ``__`` in a name stands for ``/``."""
    device = drm / name / "device"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    for path, content in files.items():
        file = device / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return device


def test_amd_tells_all_in_our_units(tmp_path: Path) -> None:
    card(
        tmp_path,
        "card10",
        product_name="AMD Instinct MI300X",
        gpu_busy_percent="88",
        mem_info_vram_used=str(100 * 10**9),
        mem_info_vram_total=str(192 * 10**9),
        hwmon__hwmon7__power1_average="612000000",
        hwmon__hwmon7__temp1_input="64000",
    )
    card(tmp_path, "card2", device="0x73bf", gpu_busy_percent="5", hwmon__hwmon3__power1_input="31000000")
    card(tmp_path, "card0", vendor="0x8086", gpu_busy_percent="9")
    (tmp_path / "card2-DP-1").mkdir()

    gpus = AmdGpus(tmp_path)
    assert gpus.found
    assert gpus.read() == [
        GpuView(0, "AMD GPU 0x73bf", 0.05, None, None, 31.0, None),
        GpuView(1, "AMD Instinct MI300X", 0.88, 100 * 10**9, 192 * 10**9, 612.0, 64.0),
    ]


def test_an_amd_chip_that_tells_little_or_nonsense(tmp_path: Path) -> None:
    device = card(tmp_path, "card0", mem_info_vram_total="536870912", gpu_busy_percent="N/A")
    gpus = AmdGpus(tmp_path)
    assert gpus.read() == [GpuView(0, "AMD GPU", memory_total=536870912)]
    shutil.rmtree(device)
    assert gpus.read() == [GpuView(0, "AMD GPU")]
    assert not AmdGpus(tmp_path / "none").found


def busy(*shares: float | None) -> list[GpuView]:
    return [GpuView(index, "GPU", utilisation=share) for index, share in enumerate(shares)]


def test_utilisation_is_averaged_and_figures_are_calm() -> None:
    samples = Samples()
    for tick, share in enumerate((1.0, 0.5, 0.9, 0.8)):
        samples.take([GpuView(0, "GPU", share, 61_234_567_890, 80 * 10**9, 412.3, 71.4)], 2.0 * tick)
    assert samples.views(8.0) == (GpuView(0, "GPU", 0.8, 584 * (100 << 20), 80 * 10**9, 410.0, 71.0),)
    for tick in range(4, 4 + KEPT):
        samples.take(busy(0.0), 2.0 * tick)
    assert samples.views(20.0)[0].utilisation == 0.0


def test_figures_that_went_are_not_averaged_from_old_ones() -> None:
    samples = Samples()
    samples.take(busy(0.9, 0.9), 0.0)
    samples.take(busy(0.9, None), 2.0)
    assert [view.utilisation for view in samples.views(2.0)] == [0.9, None]
    samples.take(busy(0.1), 4.0)
    assert [view.utilisation for view in samples.views(4.0)] == [0.1]


def test_a_driver_that_hangs_tells_nothing_for_long() -> None:
    samples = Samples()
    assert samples.views(0.0) == ()
    samples.take(busy(0.9), 100.0)
    assert samples.views(100.0 + STALE_SECONDS) == tuple(busy(0.9))
    assert samples.views(101.0 + STALE_SECONDS) == ()
    assert samples.idle_for(101.0 + STALE_SECONDS) is None


def test_idleness_counts_only_after_work_and_of_all_gpus() -> None:
    samples = Samples()
    for at, shares, idle in (
        (0.0, (0.0, 0.0), None),  # whatever trains here may not need them
        (10.0, (0.9, 0.0), 0.0),
        (20.0, (0.0, 0.0), 0.0),
        (30.0, (0.02, 0.03), 10.0),
        (40.0, (0.0, 0.0), 20.0),
        (50.0, (0.0, 0.05), 0.0),
        (60.0, (0.0, 0.0), 0.0),
        (70.0, (0.0, None), 0.0),
        (80.0, (0.0, 0.0), 0.0),
        (200.0, (0.0, 0.0), 0.0),  # nobody looked in between
        (210.0, (0.0, 0.0), 10.0),
    ):
        samples.take(busy(*shares), at)
        assert samples.idle_for(at) == idle, at


class Ticks:
    """Lets the thread's loop run in the test's own thread, so many times."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.now = 0.0

    def pause(self, seconds: float) -> bool:
        self.left -= 1
        self.now += seconds
        return self.left < 0

    def clock(self) -> float:
        return self.now


class Reader:
    """Reads what it was told, or raises it."""

    def __init__(self, *readings: list[GpuView] | Exception) -> None:
        self.readings = list(readings)

    def read(self) -> list[GpuView]:
        reading = self.readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading


def watched(find: Callable[[], Sequence[GpuReader]], count: int) -> GpuWatch:
    """A watch that has run to its end."""
    ticks = Ticks(count)
    watch = GpuWatch(find, clock=ticks.clock, pause=ticks.pause)
    watch._thread = threading.current_thread()
    watch.want(True)
    watch.run()
    return watch


def test_a_watch_reads_all_makers_now_and_then() -> None:
    readers = [Reader(busy(0.5), busy(0.7)), Reader(busy(0.1), busy(0.1))]
    watch = watched(lambda: readers, 2)
    assert [view.utilisation for view in watch.views()] == [0.6, 0.1]
    assert watch.idle_for() == 0.0
    watch.want(False)
    assert (watch.views(), watch.idle_for()) == ((), None)
    watch.close()


def test_a_watch_ends_quietly_when_there_is_nothing_or_a_library_breaks() -> None:
    assert watched(list, 5).views() == ()
    broken = Reader(busy(0.5), RuntimeError("segment"))
    assert [view.utilisation for view in watched(lambda: [broken], 5).views()] == [0.5]


def test_a_reading_that_fails_once_is_left_out_and_a_library_that_goes_on_failing_is_left_alone() -> None:
    fails = [RuntimeError("once")]
    once = Reader(busy(0.5), *fails, busy(0.5))
    watched(lambda: [once], 3)
    assert not once.readings
    broken = Reader(*fails * (MOST_FAILURES + 3))
    watched(lambda: [broken], MOST_FAILURES + 3)
    assert len(broken.readings) == 3


def threads(watch: GpuWatch) -> list[threading.Thread]:
    return [watch._thread] if watch._thread is not None else []


def test_a_watch_starts_no_thread_before_it_is_wanted_and_a_hung_driver_holds_nobody_up() -> None:
    hung, asked = threading.Event(), threading.Event()

    class Hung:
        def read(self) -> list[GpuView]:
            asked.set()
            hung.wait()
            return []

    watch = GpuWatch(lambda: [Hung()], pause=lambda _: False)
    watch.want(False)
    assert not threads(watch)
    watch.want(True)
    assert asked.wait(10)
    assert watch.views() == ()
    assert watch.idle_for() is None
    watch.close()
    hung.set()
    (thread,) = threads(watch)
    thread.join(10)
    assert not thread.is_alive()


def test_what_is_found_on_a_machine(tmp_path: Path) -> None:
    driver, drm = tmp_path / "nvidiactl", tmp_path / "drm"
    nvml = FakeNvml()
    assert find_readers(drm, [driver], lambda: nvml) == []
    assert nvml.starts == 0
    assert watch_gpus(drm, [driver]) is None

    driver.touch()
    assert [type(reader) for reader in find_readers(drm, [driver], lambda: nvml)] == [NvidiaGpus]
    assert find_readers(drm, [driver], lambda: None) == []  # without the extra
    assert find_readers(drm, [driver], lambda: FakeNvml("init")) == []  # a library without its driver
    assert watch_gpus(drm, [driver]) is not None

    card(drm, "card0")
    assert [type(reader) for reader in find_readers(drm, [driver], lambda: nvml)] == [NvidiaGpus, AmdGpus]
    assert watch_gpus(drm, []) is not None


LOOK = """
import dataclasses, json
from pathlib import Path
from raftmon.gpus.watch import find_readers
(*readers,) = find_readers(Path("/nowhere"), [Path("/")])
print(json.dumps([[dataclasses.astuple(view) for reader in readers for view in reader.read()] for _ in range(4)]))
"""


def read_in_a_process(**environment: str) -> Any:
    environ = {**os.environ, **environment}
    output = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, env=environ, timeout=60
    )
    return json.loads(output.stdout)


needs_pynvml = pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="needs the extra gpu")


@needs_pynvml
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has NVIDIA's library")
def test_the_real_module_without_its_library_is_as_good_as_none() -> None:
    assert read_in_a_process() == [[]] * 4


@needs_pynvml
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_real_module_on_a_library_that_answers_as_nvidias(tmp_path: Path) -> None:
    library, source = tmp_path / "libnvidia-ml.so.1", Path(__file__).with_name("nvml_stub.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)

    readings = read_in_a_process(LD_LIBRARY_PATH=str(tmp_path))

    h100 = [0, H100, 0.97, 61203283968, 85520809984, 412.345, 71.0]
    assert readings[0] == [h100, [1, "NVIDIA A30", None, 61203283968, 85520809984, None, None]]
    assert readings[3] == [h100, [1, "NVIDIA A30", None, None, None, None, None]]
