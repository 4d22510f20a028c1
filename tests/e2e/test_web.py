"""The real `raftmon watch --web`: over HTTP and WebSockets, and in a headless Chromium as a person sees it."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from raftmon.tui.look import THEMES
from tests.browser import CHROMIUM, Browser, share_of
from tests.test_monitor import write_run

pytest.importorskip("textual_serve", reason="needs the extra web")

import aiohttp

from tests.web_session import PATIENCE, Client, Served

in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome here")
EVIL = "http://evil.example"


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    write_run(tmp_path / "runs" / "seen-in-a-browser" / "events.out.tfevents.1", [2.0 - 0.01 * n for n in range(100)])
    return tmp_path / "runs"


@pytest.fixture
def served(tmp_path: Path, logdir: Path) -> Iterator[Served]:
    with Served(tmp_path / "home", str(logdir)) as served:
        yield served


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def is_painted(picture: Image.Image) -> bool:
    theme = THEMES[0]
    ground, *signs = share_of(picture, map(str, (theme.background, theme.foreground, theme.primary))).values()
    return 0.7 < ground < 0.99 and min(signs) > 0.0005


async def has_ended(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, PATIENCE)


async def test_the_page_names_nothing_from_elsewhere(served: Served, session: aiohttp.ClientSession) -> None:
    here = served.origin.removeprefix("http://")
    paths, seen = [served.url.removeprefix(served.origin)], []
    while paths:
        path = paths.pop()
        async with session.get(served.origin + path) as answer:
            assert answer.status == 200, path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert set(re.findall(r"\w+://[^ ;]*", policy)) <= {f"ws://{here}", f"wss://{here}"}
            text = (await answer.read()).decode("latin-1")
        seen.append(path)
        if path.endswith(".js") and not path.startswith("/own/"):
            continue
        named = re.findall(r'(?:src|href)="([^"]*)"|url\("([^"]*)"\)|script\.src = "([^"]*)"', text)
        for url in filter(None, map("".join, named)):
            assert url.startswith("/") or url == "data:,", (path, url)
            assert not url.startswith("//")
            paths += [url] if url.startswith("/") and url not in seen else []

    assert {path.rpartition(".")[2] for path in seen[1:]} == {"css", "js", "ttf"}
    assert "/static/js/textual.js" in seen


async def test_only_the_whole_address_opens_anything(served: Served, session: aiohttp.ClientSession) -> None:
    for path in ("/", "/guess/", "/guess/ws", "/static/", "/own/../server.py", "/own/%2e%2e/server.py", "/download/1"):
        async with session.get(served.origin + path) as answer:
            assert answer.status in (403, 404), path
            assert "Content-Security-Policy" in answer.headers, path
    async with session.get(f"{served.origin}/") as answer:
        assert "whole address" in await answer.text()
    assert served.tabs == []


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Origin": "null"}, {"Host": "evil.example"}], ids=str)
@pytest.mark.parametrize("path", ["", "ws"])
async def test_pages_of_others_are_turned_away(
    served: Served, session: aiohttp.ClientSession, headers: dict[str, str], path: str
) -> None:
    async with session.get(served.url + path, headers=headers) as answer:
        assert answer.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"{served.url}ws", headers=headers)
    assert refused.value.status == 403
    assert served.tabs == []


async def test_another_port_of_this_machine_is_another_page(served: Served, session: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"{served.url}ws", origin="http://127.0.0.1:1")
    assert refused.value.status == 403


async def test_it_is_reached_through_a_forwarded_port(served: Served, session: aiohttp.ClientSession) -> None:
    forwarded = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}

    async with session.ws_connect(f"{served.url}ws", headers=forwarded) as websocket:
        await Client(websocket).until("seen-in-a-browser")
        assert len(served.tabs) == 1


async def test_each_tab_is_a_process_that_ends_with_it(served: Served, session: aiohttp.ClientSession) -> None:
    first = await Client.of(session, served)
    await first.until("seen-in-a-browser")
    (of_first,) = served.tabs
    second = await Client.of(session, served)
    await second.until("seen-in-a-browser")

    await first.websocket.close()
    await has_ended(of_first)
    (of_second,) = served.tabs
    await second.press("?")
    await second.until("HELP")

    # A line that breaks, as when a lid is closed.
    assert second.websocket.exception() is None
    await session.close()
    await has_ended(of_second)


async def test_what_a_training_logs_meanwhile_is_seen(
    served: Served, session: aiohttp.ClientSession, logdir: Path
) -> None:
    client = await Client.of(session, served)
    await client.until("seen-in-a-browser")
    assert b"a-second-run" not in client.received

    write_run(logdir / "a-second-run" / "events.out.tfevents.1", [2.0 - 0.01 * n for n in range(100)])

    await client.until("a-second-run")


async def test_quit_closes_the_tab_and_not_the_server(served: Served, session: aiohttp.ClientSession) -> None:
    client = await Client.of(session, served)
    await client.until("seen-in-a-browser")

    (tab,) = served.tabs
    await client.press("q")
    await client.until_closed()
    await has_ended(tab)
    assert served.tabs == []

    again = await Client.of(session, served)
    await again.until("seen-in-a-browser")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_all(served: Served, session: aiohttp.ClientSession, number: int) -> None:
    clients = [await Client.of(session, served) for _ in range(2)]
    for client in clients:
        await client.until("seen-in-a-browser")
    tabs = served.tabs

    code, out, err = await asyncio.to_thread(served.end, number)

    assert (len(tabs), code, out, err) == (2, 0, "", "")
    assert not any(tab.is_running() for tab in tabs)
    for client in clients:
        await client.until_closed()


@pytest.mark.parametrize(("key", "beginning"), [("s", "<svg"), ("e", "run,role,tag,step,value\n")])
async def test_what_is_exported_is_downloaded(
    served: Served, session: aiohttp.ClientSession, key: str, beginning: str
) -> None:
    client = await Client.of(session, served)
    await client.until("seen-in-a-browser")

    await client.press(key)
    delivered = await client.until_delivered()

    async with session.get(f"{served.origin}/download/{delivered}") as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert (await answer.text()).startswith(beginning)


async def test_tabs_end_when_the_server_is_killed(served: Served, session: aiohttp.ClientSession) -> None:
    client = await Client.of(session, served)
    await client.until("seen-in-a-browser")
    (tab,) = served.tabs

    _, _, err = await asyncio.to_thread(served.end, signal.SIGKILL)

    await has_ended(tab)
    assert err == ""


async def test_what_no_page_says_closes_the_tab(served: Served, session: aiohttp.ClientSession) -> None:
    for nonsense in ("{", "{}", "[]", '["resize", 1]', '["stdin"]'):
        client = await Client.of(session, served)
        await client.websocket.send_str(nonsense)
        await client.until_closed()
    # A size that no window has, and a browser that takes the port for an encrypted one.
    await Client.of(session, served, 10**6, 10**6)
    with socket.create_connection(("127.0.0.1", int(served.origin.rpartition(":")[2]))) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert b"400 Bad Request" in line.recv(1000)

    code, _, err = await asyncio.to_thread(served.end, signal.SIGTERM)

    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["raftmon"]
    assert "HTTPS traffic on an HTTP port" in err


async def test_awkward_names_and_options_reach_the_app(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    logdir = tmp_path / "-a b'\"$HOME`x`;\n\\*é"
    write_run(logdir / "run $(x)" / "events.out.tfevents.1", [2.0 - 0.01 * n for n in range(100)])
    config = tmp_path / "the config.yaml"
    config.write_text("model_name_or_path: tiny\nlearning_rate: 5.0e-5\n")

    options = [f"--config={config}", "--apply", "--ascii", "--authority", "test", "--journal", str(tmp_path / "j k")]
    with Served(tmp_path / "home", *options, "--", str(logdir)) as served:
        client = await Client.of(session, served)
        await client.until("run $(x)")
        await client.until("raftmon --apply the config.yaml")
        assert client.received.isascii()


async def test_a_port_in_use_is_said(served: Served, logdir: Path, tmp_path: Path) -> None:
    port = served.origin.rpartition(":")[2]

    with pytest.raises(AssertionError, match=f"--listen 127.0.0.1:{port}: Address already in use.*another port"):
        Served(tmp_path / "home", "--listen", f"127.0.0.1:{port}", str(logdir))


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    (listening,) = [c for c in psutil.Process(served.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]

    assert listening.laddr.ip == "127.0.0.1"
    assert listening.family is socket.AF_INET


def test_other_machines_are_let_in_only_when_told_and_with_a_warning(tmp_path: Path, logdir: Path) -> None:
    with Served(tmp_path / "home", "--listen", "0.0.0.0:0", str(logdir)) as served:
        assert served.url.startswith(f"http://{socket.gethostname()}:")
        code, _, err = served.end(signal.SIGTERM)

    assert code == 0
    assert "other machines can reach this port, and nothing is encrypted" in err
    assert "ssh -L" in err


@in_chromium
async def test_a_person_sees_the_runs(served: Served, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile")
    try:
        page = await browser.open(session, 1200, 800)
        await page.go(served.url)
        await page.until_received("seen-in-a-browser")
        # The ground, text as much as a person reads, and the curve, each in its own colour.
        picture = await page.until(is_painted)

        assert picture.size == (1200, 800)
        assert await page.evaluate("[...document.fonts].map(font => font.status).join()") == "loaded,loaded"
        assert await page.evaluate("document.title") == f"raftmon {tmp_path / 'runs'}"
        # Keys work without a click.
        await page.press("?")
        await page.until_received("HELP")
        page.received = b""
        await page.press("Escape")
        await page.until_received("seen-in-a-browser")
        # The end of the app is told, and it can be opened again.
        await page.press("q")
        await page.until_true("document.getElementById('again').checkVisibility()")
        page.received = b""
        await page.evaluate("document.getElementById('again').click()")
        await page.until_received("seen-in-a-browser")
        await page.until(is_painted)
        assert {url.split("/")[2] for url in page.requested if url != "data:,"} == {served.origin.split("/")[2]}
        assert page.complaints == []
    finally:
        browser.close()


@in_chromium
async def test_what_is_copied_is_in_the_browsers_clipboard(
    served: Served, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    browser = Browser(tmp_path / "profile")
    try:
        page = await browser.open(session, 1000, 600)
        await page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        await page.go(served.url)
        await page.until_received("seen-in-a-browser")
        await page.press("c")
        await page.until_received("\x1b]52;c;")

        await page.until_true("navigator.clipboard.readText().then(text => text.includes('UNDECIDED'))")
        assert "UNDECIDED" in str(await page.evaluate("navigator.clipboard.readText()"))
    finally:
        browser.close()
