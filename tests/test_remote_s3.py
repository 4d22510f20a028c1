"""Against a real S3 server, moto's, with faults injected between it and s3fs."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftmon.remote.address import Address
from raftmon.remote.mirror import Mirror, Pace
from raftmon.remote.store import FsspecStore
from tests.s3_server import KEY, SECRET, Proxy, moto_server, proxy_to
from tests.scripted import header_record, losses

for needed in ("s3fs", "flask_cors", "moto"):
    pytest.importorskip(needed, reason="needs pip install -e '.[test,remote,remote-test]'")

# A connection that is given up in the middle is left to the garbage collector by the libraries that made it.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)

ALWAYS = Pace(least=0.0, load=0.0, request=0.0)
RECORDS = losses(*(2.0 - 0.01 * step for step in range(200)), first_step=1)
LOGS = "logs/events.out.tfevents.1.host.1.0"


class Bucket:
    """A bucket on the server, written to without the proxy."""

    def __init__(self, file_system: Any, name: str, proxy: Proxy) -> None:
        self._file_system = file_system
        self.name = name
        self.proxy = proxy
        self.url = f"s3://{name}/raft"

    def put(self, path: str, data: bytes) -> None:
        self._file_system.pipe_file(f"{self.name}/raft/{path}", data)

    def delete(self, path: str) -> None:
        self._file_system.rm_file(f"{self.name}/raft/{path}")

    def environment(self, temporary: Path) -> dict[str, str]:
        """Return what a process needs to find the bucket through the proxy."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        }


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="session")
def moto_port() -> Iterator[int]:
    with moto_server() as port:
        yield port


@pytest.fixture
def bucket(moto_port: int, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    import s3fs

    direct = s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        client_kwargs={"endpoint_url": f"http://127.0.0.1:{moto_port}", "region_name": "us-east-1"},
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    name = f"b{abs(hash(request.node.name)) % 10**10}"
    direct.call_s3("create_bucket", Bucket=name)
    with proxy_to(moto_port) as proxy:
        yield Bucket(direct, name, proxy)


def open_mirror(bucket: Bucket, directory: Path, patience: float = 20.0) -> Mirror:
    client = {"endpoint_url": bucket.proxy.endpoint, "region_name": "us-east-1"}
    options = {"key": KEY, "secret": SECRET, "client_kwargs": client}
    store = FsspecStore(Address(bucket.url), options, patience)
    root, parts = directory / "tree", directory / "parts"
    root.mkdir()
    parts.mkdir()
    return Mirror(store, root, parts, clock=Ticking(), random=lambda: 0.0, pace=ALWAYS)


class Ticking:
    """A clock on which an hour passes between two looks, so that no pause is waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 3600.0
        return self.now


def contents(directory: Path) -> dict[str, bytes]:
    root = directory / "tree"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run_file(run: int) -> str:
    return f"run_{run:03}/{LOGS}"


def test_costs_of_the_first_sync_of_none_and_of_five_records(bucket: Bucket, tmp_path: Path) -> None:
    data = header_record() + RECORDS
    for run in range(100):
        bucket.put(run_file(run), data)
        bucket.put(f"run_{run:03}/checkpoint-10/model.safetensors", bytes(2000))
    mirror = open_mirror(bucket, tmp_path)
    mirror.sync()
    listings, reads, sent = bucket.proxy.count()
    assert (listings, reads) == (1, 100)
    assert 100 * len(data) <= sent < 100 * len(data) + 200_000
    assert contents(tmp_path) == {run_file(run): data for run in range(100)}

    mirror.sync()
    listings, reads, sent = bucket.proxy.count()
    assert (listings, reads) == (1, 0)

    news = losses(0.1, 0.1, 0.1, 0.1, 0.1, first_step=201)
    bucket.put(run_file(7), data + news)
    mirror.sync()
    requests = bucket.proxy.requests
    assert [request.is_listing for request in requests] == [True, False]
    assert requests[1].sent == 256 + len(news)
    assert contents(tmp_path)[run_file(7)] == data + news


@pytest.mark.parametrize("fault", ["drop", "truncate", "500", "503"])
@pytest.mark.parametrize("where", ["list-type", "tfevents"])
def test_a_fault_of_the_network_is_told_and_got_over(bucket: Bucket, tmp_path: Path, fault: Any, where: str) -> None:
    bucket.put(LOGS, RECORDS)
    mirror = open_mirror(bucket, tmp_path)
    bucket.proxy.always(fault, where)
    for _ in range(2):
        assert not mirror.sync()
    (problem,) = mirror.problems(bucket.url)
    assert problem.where == bucket.url
    assert SECRET not in str(problem)
    assert KEY not in str(problem)
    # Nothing but a beginning of the file may be here.
    assert all(RECORDS.startswith(data) for data in contents(tmp_path).values())
    bucket.proxy.always(None)
    mirror.sync()
    assert contents(tmp_path) == {LOGS: RECORDS}
    assert not list(mirror.problems(bucket.url))


def test_slow_down_is_called_so(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(LOGS, RECORDS)
    mirror = open_mirror(bucket, tmp_path)
    bucket.proxy.always("503")
    mirror.sync()
    mirror.sync()
    assert [problem.what for problem in mirror.problems("x")] == ["the server asks to slow down (SlowDown)"]


def test_one_fault_in_a_row_of_requests_goes_unnoticed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(LOGS, RECORDS)
    mirror = open_mirror(bucket, tmp_path)
    bucket.proxy.fail("drop")
    mirror.sync()
    assert not list(mirror.problems(bucket.url))
    mirror.sync()
    assert contents(tmp_path) == {LOGS: RECORDS}


def test_a_token_that_expires_in_the_middle_keeps_what_is_here(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(LOGS, RECORDS)
    mirror = open_mirror(bucket, tmp_path)
    mirror.sync()
    bucket.put(LOGS, RECORDS * 2)
    for where in ("tfevents", "list-type"):
        bucket.proxy.always("expired", where)
        mirror.sync()
        assert contents(tmp_path) == {LOGS: RECORDS}
        (problem,) = mirror.problems(bucket.url)
        assert problem.what == "access denied (ExpiredToken)"
        assert SECRET not in str(problem)
    bucket.proxy.always(None)
    mirror.sync()
    assert contents(tmp_path) == {LOGS: RECORDS * 2}
    assert not list(mirror.problems(bucket.url))


def test_a_server_that_never_answers_is_given_up(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(LOGS, RECORDS)
    mirror = open_mirror(bucket, tmp_path, patience=0.3)
    bucket.proxy.always("hang", "list-type")
    began = time.monotonic()
    assert not mirror.sync()
    assert time.monotonic() - began < 5.0
    assert [problem.what for problem in mirror.problems("x")] == ["no answer within 0.6 s"]
    bucket.proxy.released.set()


def test_replaced_shrunk_and_deleted_objects(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(LOGS, RECORDS)
    bucket.put("cycle_1_verified.jsonl", b'{"success": true}\n')
    mirror = open_mirror(bucket, tmp_path)
    mirror.sync()
    bucket.put(LOGS, RECORDS[::-1] + b"more")
    bucket.put("cycle_1_verified.jsonl", b'{"success": false}\n' * 3)
    mirror.sync()
    assert contents(tmp_path) == {LOGS: RECORDS[::-1] + b"more", "cycle_1_verified.jsonl": b'{"success": false}\n' * 3}
    bucket.put(LOGS, RECORDS[:500])
    bucket.delete("cycle_1_verified.jsonl")
    mirror.sync()
    assert contents(tmp_path) == {LOGS: RECORDS[:500]}


def raftmon(bucket: Bucket, temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raftmon.cli", *arguments]
    return subprocess.run(
        command,
        env=bucket.environment(temporary),
        cwd=temporary,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_advise_reads_a_bucket_and_names_it_by_its_url(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(f"cycle_1/{LOGS}", header_record() + RECORDS)
    bucket.put("cycle_1_verified.jsonl", b'{"success": true}\n{"success": false}\nno json\n')
    done = raftmon(bucket, tmp_path, "advise", bucket.url, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["logdirs"] == [bucket.url]
    assert [run["path"] for run in document["runs"]] == [f"{bucket.url}/cycle_1/logs"]
    assert [run["state"] for run in document["runs"]] == ["idle"]
    assert document["runs"][0]["last_step"] == 200
    assert [(one["path"], one["cycles"][0]["verification_rate"]) for one in document["campaigns"]] == [
        (bucket.url, 0.5)
    ]
    assert [problem["where"] for problem in document["problems"]] == [f"{bucket.url}/cycle_1_verified.jsonl:3"]
    assert str(tmp_path) not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "what"),
    [("s3://no-such-bucket/x", "no such bucket or directory (NoSuchBucket)"), ("{}/nothing", "no event files")],
)
def test_what_is_not_there_ends_with_3(bucket: Bucket, tmp_path: Path, url: str, what: str) -> None:
    done = raftmon(bucket, tmp_path, "advise", url.format(bucket.url))
    assert done.returncode == 3
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_denied_access_ends_with_3_and_no_secret(bucket: Bucket, tmp_path: Path) -> None:
    bucket.proxy.always("expired")
    done = raftmon(bucket, tmp_path, "advise", bucket.url)
    assert done.returncode == 3
    assert f"raftmon: {bucket.url}: access denied (ExpiredToken)" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


def test_pre_cycle_gives_no_number_from_a_part_of_a_campaign(bucket: Bucket, tmp_path: Path) -> None:
    config = tmp_path / "raft.yaml"
    config.write_text("learning_rate: 5.0e-05\nmodel_name_or_path: tiny\nper_device_train_batch_size: 4\n")
    bucket.put(f"cycle_1/{LOGS}", header_record() + RECORDS)
    bucket.put("cycle_1_verified.jsonl", b'{"success": true}\n{"success": false}\n')
    arguments = ("pre-cycle", "raft.yaml", "--logdir", bucket.url, "--format", "json", "--journal", "journal")
    done = raftmon(bucket, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cycle"] == 2
    bucket.proxy.always("expired", "jsonl")
    done = raftmon(bucket, tmp_path, *arguments)
    assert done.returncode == 4
    assert f"{bucket.url}/cycle_1_verified.jsonl: not all of it could be read: access denied" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_following_shows_growth_and_leaves_nothing_behind(bucket: Bucket, tmp_path: Path, number: int) -> None:
    bucket.put(LOGS, header_record() + RECORDS)
    command = [sys.executable, "-m", "raftmon.cli", "advise", bucket.url, "--follow", "--format", "json"]
    process = subprocess.Popen(
        command, env=bucket.environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None

    def next_step(step: int) -> None:
        for line in process.stdout or ():
            if [run["last_step"] for run in json.loads(line)["runs"]] == [step]:
                return
        pytest.fail("it ended")

    next_step(200)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o700]
    bucket.put(LOGS, header_record() + RECORDS + losses(0.1, first_step=201))
    next_step(201)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert errors == ""
    assert process.returncode == (143 if number == signal.SIGTERM else 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [(), ("--follow",)])
def test_a_server_that_hangs_holds_up_no_ctrl_c(bucket: Bucket, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    bucket.proxy.always("hang")
    command = [sys.executable, "-m", "raftmon.cli", "advise", bucket.url, *arguments]
    pipe, environment = subprocess.PIPE, bucket.environment(tmp_path)
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
    while not bucket.proxy.requests:
        time.sleep(0.05)  # until it waits for an answer
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == (0 if arguments else 130)
    assert (out, err) == ("", "")
    assert not list(tmp_path.iterdir())
