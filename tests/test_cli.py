"""The command line: exit codes, streams, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftmon import cli, monitor
from tests.scripted import losses
from tests.test_monitor import write_run


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    code = caught.value.code
    return code if isinstance(code, int) else 0, out, err


@pytest.fixture
def diverged(tmp_path: Path) -> Path:
    curve = [3.0 - 0.01 * n for n in range(100)] + [2.0 + 0.03 * n for n in range(60)]
    return write_run(tmp_path / "logs" / "run" / "events.out.tfevents.1", curve).parents[1]


def test_advise_tells_people_and_programs(diverged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = run(capsys, "advise", str(diverged))
    assert (code, err) == (0, "")
    assert "▲ LR too high" in told

    code, written, err = run(capsys, "advise", str(diverged), "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(written)["runs"][0]["verdict"]["learning_rate"] == "too_high"


@pytest.mark.parametrize(("level", "code"), [("critical", 1), ("low", 1)])
def test_fail_on_ends_with_one(diverged: Path, capsys: pytest.CaptureFixture[str], level: str, code: int) -> None:
    assert run(capsys, "advise", str(diverged), "--fail-on", level)[0] == code
    assert run(capsys, "advise", str(diverged), "--fail-on", level, "--follow")[0] == code


def test_fail_on_is_silent_about_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [2.0 - 0.01 * n for n in range(40)])

    assert run(capsys, "advise", str(tmp_path), "--fail-on", "critical")[0] == 0


def test_only_some_runs(diverged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(diverged / "other" / "events.out.tfevents.1", [1.0] * 5)

    _, told, _ = run(capsys, "advise", str(diverged), "--run", "oth*")

    assert "other" in told
    assert "too high 7" not in told
    code, _, err = run(capsys, "advise", str(diverged), "--run", "none*")
    assert code == 3
    assert "no run matches" in err


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_to_read_is_three(tmp_path: Path, capsys: pytest.CaptureFixture[str], exists: bool) -> None:
    where = tmp_path if exists else tmp_path / "none"

    code, out, err = run(capsys, "advise", str(where))

    assert (code, out) == (3, "")
    assert ("no event files" if exists else "no such directory") in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["advise"], "Missing argument 'LOGDIR...'"),
        (["advise", ""], "the name of the directory is empty"),
        (["advise", ".", "--format", "xml"], "'xml' is not one of"),
        (["advice"], "No such command 'advice'"),
        (["rules", "show", "loss-divergs"], "there is no such rule"),
        (["rules", "check", "/nowhere"], "no rule files"),
    ],
)
def test_a_wrong_command_line_is_two(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, _, err = run(capsys, *arguments)

    assert code == 2
    assert said in err


def test_a_wrong_settings_file_is_two_with_its_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "raftmon.yaml"
    settings.write_text("guardrails: {max_change: 0.1}\nstrategi: 1\n")

    code, _, err = run(capsys, "advise", str(tmp_path), "--settings", str(settings))

    assert code == 2
    assert f"{settings}:1:26" in err
    assert f"{settings}:2:1" in err


def test_the_rules_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "loss-diverges" in run(capsys, "rules", "list")[1]
    shown = run(capsys, "rules", "show", "cycle-worse")[1]
    assert "campaign.drop_margin" in shown
    assert "What would change its mind" in shown
    assert '"kind":"rule"' in run(capsys, "rules", "show", "cycle-worse", "--format", "json")[1]
    assert "What is weighed" in run(capsys, "rules", "show", "verdict")[1]
    assert run(capsys, "rules", "check")[1].endswith("no defects\n")
    assert run(capsys, "rules", "test")[1].endswith("0 failed\n")


def test_a_failing_rule_case_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.test_rulebook import TESTS, write

    write(tmp_path, tests=TESTS.replace("{state: firing}", "{state: firing}, {step: 10, state: firing}"))

    code, out, _ = run(capsys, "rules", "test", str(tmp_path))

    assert code == 1
    assert "flat is pending at step 10, expected firing" in out


def test_a_defect_of_raftmon_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(monitor.Monitor, "poll", fail)

    code, _, err = run(capsys, "advise", str(tmp_path))

    assert code == cli.INTERNAL_ERROR
    assert "a defect of raftmon: RuntimeError: boom" in err
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / "events.out.tfevents.1").write_bytes(losses(1.0, 2.0))
    command = [sys.executable, "-m", "raftmon.cli", "advise", str(tmp_path), "--format", "json", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        (tmp_path / "run0" / "events.out.tfevents.2").write_bytes(losses(3.0, first_step=2))
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""


IMPORTS = """
import sys
sys.argv = ["raftmon", *{arguments!r}]
from raftmon.cli import main
try:
    main()
except SystemExit:
    print(" ".join(name for name in {names!r} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], ("numpy", "textual", "torch", "tensorboard", "yaml", "rich")),
        (["advise", "LOGS"], ("textual", "torch", "watchdog", "tensorboard.backend")),
        (["rules", "list"], ("textual", "torch", "tensorboard", "watchdog")),
    ],
)
def test_a_command_imports_only_what_it_needs(tmp_path: Path, arguments: list[str], forbidden: tuple[str, ...]) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    filled = [str(tmp_path) if word == "LOGS" else word for word in arguments]
    code = IMPORTS.format(arguments=filled, names=forbidden)

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stderr.split() == []
