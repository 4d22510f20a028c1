"""What the daemon's imports cost, beside what they cannot do without.

CPU is counted from the start of the interpreter to the end of the last import. To take its modules down at its end
costs a process some 25 ms more: a daemon ends once. Each is run in turn, in a fresh process, with one thread for
OpenBLAS, as the command line sets it before numpy is imported (by default there is a second one, which spins for some
50 ms). Modules are compiled beforehand, as an installer does it; under PYTHONDONTWRITEBYTECODE a checkout never is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.ingest_load import peak_in
from tests.benchmarks.ingest_peers import ENVIRONMENT, ROOT

__all__ = ["Imports", "measure_imports"]

IMPORTED: Final[Mapping[str, str]] = {
    "monitor": "raftmon.monitor",
    "command": "raftmon.cli, raftmon.monitor",
    "numpy": "numpy",
    "floor": "numpy, yaml",
    "texts": "raftmon.monitor, tensorboard.compat.proto.event_pb2",
}
"""What a process imports."""
_TELL: Final = """
import time
spent = time.process_time()
print(spent, open("/proc/self/status").read())
"""


@dataclass(frozen=True, slots=True)
class Imports:
    """What processes cost that import something; seconds of CPU, medians."""

    monitor: float
    """With all that a monitor needs at once."""
    command: float
    """The same, and the command line."""
    numpy: float
    """With numpy alone."""
    floor: float
    """With numpy and PyYAML, without which there are no columns and no rules."""
    texts: float
    """As a monitor when it has met the first record that is no plain scalar: with the protobufs."""
    whole: float
    """Of the first, to the end of its process."""
    peak: int
    """Resident bytes of the first at its largest."""

    def note(self) -> str:
        """Return what the figure is to be compared with."""
        beside = {
            "numpy alone": self.numpy,
            "numpy and yaml": self.floor,
            "with the protobufs": self.texts,
            "with the command line": self.command,
            "to the end of the process": self.whole,
        }
        return ", ".join(f"{what} {1e3 * seconds:.0f}" for what, seconds in beside.items())


def measure_imports(times: int = 15) -> Imports:
    """Import in fresh processes, one kind after the other, and count."""
    spent: dict[str, list[float]] = {kind: [] for kind in IMPORTED}
    whole, peaks = [], []
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**ENVIRONMENT, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for kind in IMPORTED:
            _import(kind, environment)
        for _ in range(times):
            for kind in IMPORTED:
                seconds, of_process, status = _import(kind, environment)
                spent[kind].append(seconds)
                if kind == "monitor":
                    whole.append(of_process)
                    peaks.append(peak_in(status))
    medians = {kind: statistics.median(seconds) for kind, seconds in spent.items()}
    return Imports(**medians, whole=statistics.median(whole), peak=int(statistics.median(peaks)))


def _import(kind: str, environment: Mapping[str, str]) -> tuple[float, float, str]:
    """Return the CPU seconds until the imports are done and those of the whole process, and its status."""
    command = [sys.executable, "-c", f"import {IMPORTED[kind]}{_TELL}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        seconds, _, status = output.read().partition(" ")
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise RuntimeError(f"`import {IMPORTED[kind]}` ended with {process.returncode}")
    return float(seconds), usage.ru_utime + usage.ru_stime, status
