"""The collector of a daemon looks seldom."""

from __future__ import annotations

import gc

from raftmon.daemon.collector import calm_collector


def test_it_looks_less_often_than_by_default_but_does_look() -> None:
    before = gc.get_threshold()
    try:
        calm_collector()
        assert gc.isenabled()
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.set_threshold(*before)
