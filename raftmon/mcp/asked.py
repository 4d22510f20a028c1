"""What an agent may ask: the arguments of each tool, and their JSON schemas.

No argument is a path that would be opened: runs, logdirs and configs are chosen among those that the command line and
the logdirs themselves name.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from raftmon.errors import UsageError
from raftmon.grounds import Status

__all__ = ["MOST_AT_ONCE", "ExplainRun", "ListRuns", "NextCycle", "RunHistory", "Tool", "argument_schema", "read_as"]

MOST_AT_ONCE: Final = 100
"""Entries of one answer at most."""

Limit = Annotated[int, Meta(ge=1, le=MOST_AT_ONCE, description=f"How many at most; {MOST_AT_ONCE} is the most.")]
Offset = Annotated[int, Meta(ge=0, le=10_000_000, description="`next_offset` of the answer before, for what follows.")]
Near = Annotated[int, Meta(ge=0, le=10_000, description="`next_offset` of the answer before, for what was earlier.")]
Name = Annotated[str, Meta(max_length=4_096)]
Moment = Annotated[str, Meta(max_length=64)]
Number = Annotated[int, Meta(ge=1, le=9_999)]
_Asked = TypeVar("_Asked", bound=Struct)


class ListRuns(Struct, forbid_unknown_fields=True):
    """Arguments of `list_runs`."""

    glob: Annotated[str, Meta(max_length=500, description="Only runs whose name matches, such as `exp7/*`.")] = "*"
    firing: Annotated[bool, Meta(description="Only runs of which a finding fires.")] = False
    limit: Limit = 20
    offset: Offset = 0


class ExplainRun(Struct, forbid_unknown_fields=True):
    """Arguments of `explain_run`."""

    run: Annotated[Name, Meta(description="`run` or `path` of a run, as `list_runs` gives it.")]


class RunHistory(Struct, forbid_unknown_fields=True):
    """Arguments of `history`."""

    run: Annotated[Name | None, Meta(description="`run` or `path` of a run or campaign; left out: of all.")] = None
    since: Annotated[
        Moment | None, Meta(description="From then on: `2h`, `3d` ago, or a time such as `2026-11-22T14:30`.")
    ] = None
    until: Annotated[Moment | None, Meta(description="Only what was before; written alike.")] = None
    limit: Limit = 50
    offset: Near = 0


class NextCycle(Struct, forbid_unknown_fields=True):
    """Arguments of `next_cycle`."""

    config: Annotated[Name | None, Meta(description="One of the configs that the server was started with.")] = None
    logdir: Annotated[Name | None, Meta(description="One of the logdirs that the server was started with.")] = None
    cycle: Annotated[Number | None, Meta(description="Its number; left out: the next one.")] = None
    authority: Annotated[Status, Meta(description="Least status of a rule that may move the number.")] = "stable"


class Tool(Struct, frozen=True):
    """What a model is told of a tool."""

    name: str
    title: str
    description: str
    arguments: type[Struct]


def argument_schema(arguments: type[Struct]) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments, whole in itself."""
    _, found = msgspec.json.schema_components([arguments])
    schema = dict(found[arguments.__name__])
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def read_as(arguments: object, kind: type[_Asked]) -> _Asked:
    """Return arguments that were checked.

    Raises:
        UsageError: they are not what the tool takes.
    """
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        legal = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        raise UsageError("arguments", str(error), f"The tool takes {legal}.") from None
