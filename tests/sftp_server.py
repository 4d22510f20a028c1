"""An SFTP server for tests, asyncssh's own, as a process of its own.

usage: python -m tests.sftp_server DIRECTORY PASSWORD

It serves the directory as its root to the user `me`, prints its port and its key, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "thisIsMeantToBeSecret"


@contextmanager
def sftp_server(directory: Path) -> Iterator[tuple[int, str]]:
    """Serve a directory as the root; yields the port and the line for `known_hosts`."""
    command, pipe = [sys.executable, "-m", "tests.sftp_server", str(directory), PASSWORD], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[1])
    assert process.stdout is not None
    try:
        port, key = process.stdout.readline().strip().split(" ", 1)
        yield int(port), f"[127.0.0.1]:{port} {key}\n"
    finally:
        process.kill()
        process.communicate()


async def serve(directory: str, password: str) -> None:
    """Serve until standard input ends."""
    import asyncssh

    class Server(asyncssh.SSHServer):  # type: ignore[misc]
        """Lets one user in by password."""

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, given: str) -> bool:
            return (username, given) == ("me", password)

    def root(channel: object) -> object:
        return asyncssh.SFTPServer(channel, chroot=directory.encode())

    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=root, allow_scp=False
    )
    print(listener.get_port(), key.export_public_key().decode().strip(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
