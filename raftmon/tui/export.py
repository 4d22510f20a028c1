"""What is on the screen as files: the visible series as CSV, the screen itself as SVG.

They go to the current directory; from a browser's tab to where its downloads go.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from textual.app import App

from raftmon.model import RunView, SeriesView
from raftmon.plain import plain
from raftmon.tui.text import plural, run_name

__all__ = ["export_screen", "export_series", "file_stem", "said", "series_csv", "write_new"]

HEADER = ("run", "role", "tag", "step", "value")
MOST_NAMES = 1000
"""Files of one name, told apart by numbers, after which no other is written."""


def series_csv(run: RunView, roles: Iterable[str]) -> str:
    """Return series of a run as CSV with a heading, one point a line, in the order of their arrival.

    Args:
        run: the run.
        roles: which series; those that it has not are left out.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    name = run_name(run)
    for role in roles:
        series = run.series.get(role)
        if series is not None:
            points = zip(series.steps.tolist(), series.values.tolist(), strict=True)
            writer.writerows((_harmless(name), role, _harmless(series.tag), step, value) for step, value in points)
    return text.getvalue()


def export_series(app: App[int], run: RunView | None, roles: Sequence[str]) -> None:
    """Write series of a run to a CSV file, and tell where.

    Args:
        app: tells.
        run: the run; None: there is nothing to write.
        roles: which series; those that it has not are left out.
    """
    series = [run.series[role] for role in roles if role in run.series] if run is not None else []
    if run is None or not series:
        app.notify("No series to export.", severity="warning", timeout=4)
        return
    text, stem = series_csv(run, roles), f"raftmon-{file_stem(run_name(run))}"
    _write(app, stem, ".csv", text, lambda path: said(path, series))


def export_screen(app: App[int]) -> None:
    """Write what is on the screen to an SVG file, and tell where."""
    _write(app, "raftmon-screen", ".svg", app.export_screenshot(), lambda path: f"The screen is in {path}")


def said(path: Path, series: Iterable[SeriesView]) -> str:
    """Return what a person is told about an export: where it is, and what of the history is not in it."""
    shown, logged = 0, 0
    for one in series:
        shown, logged = shown + len(one.steps), logged + one.count
    thinned = f" of {logged:,} logged, thinned by age" if logged > shown else ""
    return f"{plural(shown, 'point')}{thinned} in {path}"


def file_stem(name: str) -> str:
    """Return the name of a run as the name of a file: letters, digits, dots, underscores and dashes."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:80] or "run"


def write_new(directory: Path, stem: str, suffix: str, text: str) -> Path:
    """Write a file that was not there before, and return its path; a number is added to a name that is taken.

    Raises:
        OSError: it cannot be written.
    """
    for number in range(1, MOST_NAMES):
        path = directory / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}"
        try:
            with path.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"there are {MOST_NAMES - 1} files {stem}*{suffix} in {directory} already")


def _write(app: App[int], stem: str, suffix: str, text: str, tell: Callable[[Path], str]) -> None:
    if app.is_web:
        name = f"{stem}{suffix}"
        app.deliver_text(io.StringIO(text), save_filename=name, open_method="download")
        app.notify(plain(tell(Path(name))), markup=False, timeout=6)
        return
    try:
        path = write_new(Path.cwd(), stem, suffix, text)
    except OSError as error:
        why = plain(f"{error.strerror or error}; start raftmon in a directory that you may write to.")
        app.notify(why, title="Not written", severity="error", markup=False)
    else:
        app.notify(plain(tell(path)), markup=False, timeout=6)


def _harmless(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula; names come from the files of others."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
