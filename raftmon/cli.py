"""The command line: parse, call, print, exit code. Whatever a command needs is imported when it runs.

Exit codes: 0 done; 1 a finding at or above ``--fail-on`` fires; 2 usage, settings or rule error; 3 nothing to read;
4 ``pre-cycle`` and ``undo`` did not write, and why.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from raftmon import __version__
from raftmon.commands import daemon, history, lint, looking, mcp, override, plan, rules
from raftmon.errors import RaftmonError
from raftmon.plain import plain_lines

__all__ = ["main"]

INTERNAL_ERROR: Final = 70
"""EX_SOFTWARE of sysexits.h: a defect of raftmon itself."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="raftmon %(version)s")
def cli() -> None:
    """Watches training runs and says whether the learning rate is right, and why.

    Start with `raftmon demo`, then point `raftmon watch` at the directory that your trainer logs to.
    """
    # OpenBLAS starts threads that spin at import; nothing here is large enough for them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


for command in (
    looking.watch,
    looking.advise,
    override.pre_cycle,
    override.undo,
    plan.plan,
    lint.lint,
    daemon.daemon,
    history.history,
    mcp.mcp,
    looking.demo,
    rules.rules,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a person never sees a traceback."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows ASCII alone gets question marks for what it cannot show, not a crash.
            stream.reconfigure(errors="replace")
    try:
        # click's own `main` turns a closed pipe into exit code 1.
        with cli.make_context("raftmon", list(sys.argv[1:] if arguments is None else arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
        sys.exit(0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RaftmonError as error:
        click.echo(f"raftmon: {plain_lines(str(error))}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone, as under `| head`: nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("RAFTMON_DEBUG"):
            raise
        remedy = "Please report it with the output of the same command under RAFTMON_DEBUG=1."
        click.echo(f"raftmon: a defect of raftmon: {type(error).__name__}: {error}\n  {remedy}", err=True)
        sys.exit(INTERNAL_ERROR)


def _open_missing_streams() -> None:
    """Put nothing where stdin, stdout or stderr were closed: the next file that is opened would take their place."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115 - for as long as the process lives
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


if __name__ == "__main__":
    main()
