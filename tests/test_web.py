"""Who may come in, what a tab runs, and what is said before anything is served."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.commands.looking import watch
from raftmon.commands.serving import tab_command
from raftmon.errors import UsageError
from raftmon.listen import Listen, is_loopback, is_secret, refusal
from tests.test_monitor import write_run

LOOPBACK = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.9.1", "::1"]
ELSEWHERE = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "10.0.0.1",
    "0.0.0.0",
    "::",
    "",
    "2130706433",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)
    bracketed = f"[{host}]" if ":" in host else host
    for name in (bracketed, f"{bracketed}:8765"):
        assert refusal(name, None, "127.0.0.1", loopback=True) is None
        assert refusal(name, f"http://{name}", "127.0.0.1", loopback=True) is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)
    assert refusal(f"[{host}]:1" if ":" in host else f"{host}:1", None, "127.0.0.1", loopback=True) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost:8766",
        "http://localhost",
        "http://127.0.0.1:8765",
        "http://localhost:8765.evil.example",
        "http://localhost:8765@evil.example",
        "ftp://localhost:8765",
        "chrome-extension://abc",
    ],
)
def test_a_page_of_another_origin_is_turned_away(origin: str) -> None:
    assert refusal("localhost:8765", origin, "127.0.0.1", loopback=True) is not None


def test_a_network_address_has_any_name_and_still_one_origin() -> None:
    assert refusal("gpu-box.lan:8765", "http://gpu-box.lan:8765", "0.0.0.0", loopback=False) is None
    assert refusal("gpu-box.lan:8765", "https://gpu-box.lan:8765", "0.0.0.0", loopback=False) is None
    assert refusal("gpu-box.lan:8765", "http://evil.example", "0.0.0.0", loopback=False) is not None
    for host in (None, "", "a;script-src", "a b", "a@b", "[", "a\nb"):
        assert refusal(host, None, "0.0.0.0", loopback=False) is not None


@given(st.text(), st.text())
def test_whatever_the_headers_say_it_is_refused_or_of_this_machine(host: str, origin: str) -> None:
    if refusal(host, origin, "127.0.0.1", loopback=True) is None:
        assert origin.lower().endswith(f"://{host}".lower())


@given(st.text())
def test_a_secret_is_itself_alone(given: str) -> None:
    assert is_secret(given, "s3cret") == (given == "s3cret")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8765", "127.0.0.1", 8765), ("[::1]:0", "::1", 0), ("gpu-box:65535", "gpu-box", 65535)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert Listen.of(text) == Listen(host, port)


@pytest.mark.parametrize(
    "text", ["", "8765", ":8765", "host:", "host:x", "host:65536", "::1:80", "[::1]", "[]:1", "[h]:1"]
)
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"not HOST:PORT\n  For example 127\.0\.0\.1:8765"):
        Listen.of(text)


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    try:
        at = Listen.of(text)
    except UsageError:
        return
    assert at.host
    assert 0 <= at.port <= 65535


def test_a_tab_gets_all_that_was_asked_for_but_where_to_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-c.yaml").touch()
    settings = tmp_path / "my settings.yaml"
    said = ["--web", "--listen", "[::1]:1", "--apply", "--config", "-c.yaml", f"--settings={settings}", "--ascii"]
    logdirs = ["a b", "--apply", "s3://key:secret@bucket/x", "$HOME;'\"\n"]

    command = tab_command(watch.make_context("watch", [*said, "--theme", "nord", "--", *logdirs]))

    assert command[:5] == [sys.executable, "-P", "-m", "raftmon.cli", "watch"]
    assert command[command.index("--") + 1 :] == logdirs
    options = command[5 : command.index("--")]
    assert sorted(options) == sorted(
        ["--apply", "--config=-c.yaml", f"--settings={settings}", "--ascii", "--theme=nord"]
    )
    again = watch.make_context("watch", command[5:]).params
    first = watch.make_context("watch", [*said, "--theme", "nord", "--", *logdirs]).params
    assert {**first, "web": False, "listen": None} == again


def test_every_option_of_watch_reaches_a_tab_or_is_of_the_server() -> None:
    options = [one for one in watch.params if isinstance(one, click.Option)]

    # A flag that is on unless told, or an option given more than once, would need another form.
    assert not any(one.multiple or one.nargs != 1 or one.count or one.secondary_opts for one in options)
    assert {"web", "listen"} < {str(one.name) for one in options}


def told(*arguments: str, without: str = "") -> tuple[int, str, str]:
    code = f"import sys; sys.modules.update(dict.fromkeys({without.split()!r})); from raftmon.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "watch", *arguments],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def logdir(tmp_path: Path) -> str:
    write_run(tmp_path / "runs" / "run" / "events.out.tfevents.1", [1.0] * 20)
    return str(tmp_path / "runs")


def test_without_the_extra_its_name_is_said(logdir: str) -> None:
    code, out, err = told("--web", logdir, without="textual_serve")

    assert (code, out) == (2, "")
    assert err.startswith("raftmon: --web: ")
    assert err.endswith("\n  Install the extra: pip install 'raftmon[web]'\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "127.0.0.1:1"], "--listen: nothing is served without --web"),
        (["--web", "--listen", "8765"], "--listen 8765: not HOST:PORT"),
        (
            ["--web", "--listen", "192.0.2.1:0"],
            "192.0.2.1:0: Cannot assign requested address\n  Name an address",
        ),
        (["--web", "--listen", "no such host:0"], "--listen no such host:0: "),
        (["--web", "--apply"], "--apply: there is no config"),
        (["--web", "--authority", "test"], "--authority: nothing is written without --apply"),
        (
            ["--web", "--config", "CONFIG", "--apply", "--listen", "0.0.0.0:0"],
            "another machine could write your config",
        ),
        (["--web", "--settings", "SETTINGS"], "raftmon.yaml:1:1: "),
        (["--web", "nothing://there"], "nothing://there"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(logdir: str, tmp_path: Path, arguments: list[str], said: str) -> None:
    pytest.importorskip("textual_serve", reason="needs the extra web")
    (tmp_path / "raftmon.yaml").write_text("nonsense: 1\n")
    (tmp_path / "raft.yaml").write_text("learning_rate: 5.0e-5\n")
    files = {"SETTINGS": str(tmp_path / "raftmon.yaml"), "CONFIG": str(tmp_path / "raft.yaml")}

    code, out, err = told(*(files.get(word, word) for word in arguments), logdir)

    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert "\n  " in err
