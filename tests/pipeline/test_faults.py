"""Points of a run at which processes stop and storage fails when they are told to."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autosing.pipeline.faults import POINTS, RAISE, VARIABLE, Orders, Point, reached

REACHES = "import sys; from autosing.pipeline.faults import reached; [reached(point) for point in sys.argv[1:]]"


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


def reach(orders: Orders, *points: Point) -> "subprocess.Popen[str]":
    """Starts a process that comes to some points."""
    environment = os.environ | {VARIABLE: str(orders.folder)}
    return subprocess.Popen(
        [sys.executable, "-c", REACHES, *points], env=environment, text=True, stderr=subprocess.PIPE
    )


def wait_for_stop(orders: Orders) -> int:
    while (pid := orders.stopped()) is None:
        time.sleep(0.01)
    return pid


def test_a_process_stops_at_the_point_that_is_armed_until_it_is_released(orders: Orders) -> None:
    orders.place("decode")
    with reach(orders, "read", "decode", "model-call") as run:
        assert wait_for_stop(orders) == run.pid
        assert run.poll() is None
        orders.release()
        assert run.wait() == 0


def test_who_is_released_goes_on_though_the_next_point_is_armed_at_once(orders: Orders) -> None:
    orders.place("read")
    with reach(orders, "read", "decode") as run:
        wait_for_stop(orders)
        orders.release()
        orders.place("decode")
        assert wait_for_stop(orders) == run.pid
        orders.release()
        assert run.wait() == 0


def test_only_one_of_two_processes_stops_at_a_point(orders: Orders) -> None:
    orders.place("read")
    with reach(orders, "read", "read") as one, reach(orders, "read", "read") as other:
        by_pid = {one.pid: other, other.pid: one}
        stands = wait_for_stop(orders)
        assert by_pid[stands].wait() == 0
        assert by_pid[by_pid[stands].pid].poll() is None
        orders.release()


def test_only_the_process_that_is_meant_stops(orders: Orders) -> None:
    orders.place("read", os.getpid())
    with reach(orders, "read") as run:
        assert run.wait() == 0
    assert not orders.take_back()


def test_storage_fails_at_a_point_with_the_error_that_is_wanted(orders: Orders) -> None:
    orders.place("before-write")
    with reach(orders, "before-write") as run:
        wait_for_stop(orders)
        orders.release(f"{RAISE} {errno.ENOSPC}")
        assert run.wait() == 1
        assert run.stderr is not None and "No space left on device" in run.stderr.read()


def test_a_point_that_nobody_reached_can_be_disarmed_and_one_that_was_reached_can_not(orders: Orders) -> None:
    orders.place("read")
    assert not orders.take_back()
    with reach(orders, "read") as run:
        assert run.wait() == 0
    orders.place("read")
    with reach(orders, "read") as run:
        wait_for_stop(orders)
        assert orders.take_back()
        orders.release()
        assert run.wait() == 0


def test_slow_storage_pauses_at_every_point(orders: Orders) -> None:
    orders.slow_down(0.3)
    began = time.monotonic()
    with reach(orders, *POINTS) as run:
        assert run.wait() == 0
    assert time.monotonic() - began > 0.3 * len(POINTS)


def test_a_run_that_nobody_disturbs_passes_points_in_no_time() -> None:
    assert VARIABLE not in os.environ
    began = time.perf_counter()
    for _ in range(10_000):
        reached("read")
    assert time.perf_counter() - began < 0.1
