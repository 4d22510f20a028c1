"""Starts the readers of `tests.benchmarks.ingest`, each in a process of its own with one thread, and measures them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.ingest_load import Checksums, Load, event_files, peak_in

__all__ = [
    "Peer",
    "build_reference",
    "load_python",
    "load_reference",
    "load_rust",
    "peers",
    "run_python",
    "rust_server",
]

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = Path(__file__).with_name("reference_reader.c")

ENVIRONMENT: Final[Mapping[str, str]] = {
    **os.environ,
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
}
"""One thread for each library that would start more."""

_PATIENCE: Final = 300.0
"""Seconds after which a server that has not loaded is given up."""
_SECONDS: Final[Mapping[str, float]] = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_FINISHED: Final = re.compile(r"Finished load cycle \(([\d.]+)(ns|µs|ms|s)\)")
_INLINED: Final = "-DINLINE=static inline __attribute__((always_inline))"
_KEEP_ALL: Final = "--samples-per-plugin=scalars=all"


@dataclass(frozen=True, slots=True)
class Peer:
    """A reader to compare with."""

    name: str
    """Key of its measurements."""
    title: str
    load: Callable[[Path], Load]
    """Loads a logdir once."""
    small: bool = False
    """Whether it is so slow that it gets smaller sets."""


def run_python(*arguments: str) -> bytes:
    """Run a fresh interpreter beside this one's packages; returns what it printed."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE).stdout


def load_python(reader: str, logdir: Path) -> Load:
    """Run a reader of `tests.benchmarks.ingest_load` in a fresh process."""
    found = json.loads(run_python("-m", "tests.benchmarks.ingest_load", reader, str(logdir)))
    sums = found.pop("checksums")
    return Load(**found, checksums=Checksums(**sums) if sums else None)


def build_reference(directory: Path, *, inlined: bool = False) -> Path | None:
    """Compile the reader in C for this machine; None: there is no gcc.

    Args:
        directory: where the program is put; created.
        inlined: whether its parser is inlined by force.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / ("reference_reader_inlined" if inlined else "reference_reader")
    # Built under another name: a benchmark beside this one may be running the old one.
    built = program.with_name(f".{program.name}-{os.getpid()}")
    flags = ["-std=gnu11", "-O3", "-march=native", "-Wall", "-Wextra", *([_INLINED] if inlined else [])]
    subprocess.run([compiler, *flags, "-o", str(built), str(SOURCE)], check=True)
    return built.replace(program)


def load_reference(program: Path, logdir: Path) -> Load:
    """Run the reader in C."""
    done = subprocess.run([program, *event_files(logdir)], check=True, stdout=subprocess.PIPE)
    *sums, cpu, wall = map(int, done.stdout.split())
    return Load(sums[0], cpu / 1e9, wall / 1e9, 0, Checksums(*sums))


def load_rust(program: Path, options: tuple[str, ...], start_up: float, logdir: Path) -> Load:
    """Let tensorboard's data server load a logdir, and stop it.

    Args:
        program: the server.
        options: of its command line.
        start_up: seconds of CPU that it needs without any file; they are subtracted.
        logdir: what it loads.

    Raises:
        RuntimeError: it ended, or did not load in time.
    """
    command = [str(program), "--logdir", str(logdir), "--port", "0", "--reload", "100000", "--verbose", *options]
    server = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    watchdog = threading.Timer(_PATIENCE, server.kill)
    watchdog.start()
    try:
        assert server.stderr is not None
        finished = next((found for line in server.stderr if (found := _FINISHED.search(line))), None)
        if finished is None:
            raise RuntimeError(f"{program} ended, or did not load {logdir} within {_PATIENCE:.0f} s")
        cpu, peak = _cpu_of(server.pid) - start_up, peak_in(Path(f"/proc/{server.pid}/status").read_text())
    finally:
        watchdog.cancel()
        server.kill()
        server.communicate()
    return Load(None, cpu, float(finished[1]) * _SECONDS[finished[2]], peak)


def _cpu_of(process: int) -> float:
    """Seconds of CPU that the threads of a process took, to the nanosecond (`/proc/PID/stat` has ticks of 10 ms)."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rust_server() -> Path | None:
    """The server of the wheel tensorboard-data-server; None: it is not installed, or has none for this machine."""
    if importlib.util.find_spec("tensorboard_data_server") is None:
        return None
    import tensorboard_data_server  # type: ignore[import-untyped,unused-ignore]

    program = tensorboard_data_server.server_binary()
    return Path(program) if program else None


def rust_start_up(program: Path, times: int = 5) -> float:
    """Return the CPU seconds that the server takes to load an empty logdir."""
    with tempfile.TemporaryDirectory() as empty:
        return statistics.median(load_rust(program, (), 0.0, Path(empty)).cpu for _ in range(times))


def peers(cache_directory: Path, say: Callable[[str], None]) -> list[Peer]:
    """Return the readers that this machine has, raftmon's first; what is missing is said."""
    found = [Peer("raftmon", "raftmon", partial(load_python, "raftmon"))]
    server = rust_server()
    if server is None:
        say("skipped: the Rust server (no tensorboard-data-server for this machine is installed)")
    elif not Path("/proc/self/schedstat").exists():
        say("skipped: the Rust server (its CPU time is read from /proc/PID/task/*/schedstat, which is not here)")
    else:
        start_up = rust_start_up(server)
        for name, title, options in (
            ("rust", "Rust server", ()),
            ("rust_all", "Rust server, all points", (_KEEP_ALL,)),
        ):
            found.append(Peer(name, title, partial(load_rust, server, options, start_up)))
    for name, inlined in (("c", False), ("c_inlined", True)):
        program = build_reference(cache_directory, inlined=inlined)
        if program is None:
            say("skipped: the reader in C (no gcc)")
            break
        found.append(Peer(name, "C -O3, inlined by force" if inlined else "C -O3", partial(load_reference, program)))
    found.append(Peer("loader", "EventFileLoader", partial(load_python, "loader"), small=True))
    found.append(Peer("accumulator", "EventAccumulator", partial(load_python, "accumulator"), small=True))
    if importlib.util.find_spec("tbparse") is None:
        say("skipped: tbparse (not installed)")
    else:
        title = f"tbparse {importlib.metadata.version('tbparse')}"
        found.append(Peer("tbparse", title, partial(load_python, "tbparse"), small=True))
    return found
