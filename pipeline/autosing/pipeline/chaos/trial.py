"""One cell of the matrix: a run on a fresh copy of the songs is disturbed, finished, and compared with one in peace."""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from autosing.pipeline.chaos.cells import RUN_GOES_ON, Cell, Executor, Kill, Trouble, needs_disk
from autosing.pipeline.chaos.disks import Disk, size_of, small_disk
from autosing.pipeline.chaos.process_tree import kill, kill_family
from autosing.pipeline.chaos.site import Site, end_of, wait_until, worker_of
from autosing.pipeline.chaos.state import File, State, committed, copy_songs, done_twice, leftovers
from autosing.pipeline.chaos.verdict import Verdict
from autosing.pipeline.faults import END_ACTOR, RAISE, WATCH, Point
from autosing.pipeline.leftovers import dead_scratch
from autosing.pipeline.listing import Mark
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.sweep import sweep
from autosing.signal.errors import AutosingError, DataError

DAY_S = 86_400.0
PAUSE_S = 0.05
"""How slow slow storage is: so much more for every read of a song, every call of a stage, every write and rename."""
GRACE_S = 3.0
"""How long a process stays where it stands after others were killed: by then it is killed too, or works for nobody."""
ALONE_S = 15.0
"""How long a process on a host that is cut off may go on before it is killed."""
ROOM = 64 << 20
SAME_RUN, SAME_COMMAND, OTHER_RUN = "same run", "same command", "other run"


@dataclass
class Trial:
    """A run that is disturbed.

    Args:
        site: where.
        songs: the data set without columns.
        peaceful: what a run in peace makes of it.
        executor: of the run.
        url: the copy of the data set that is computed.
        home: the folder in whose `models/` its artefacts lie; the data set's own, where that is a folder.
        before: the column files that were finished when the run was disturbed.
    """

    site: Site
    songs: Path
    peaceful: State
    executor: Executor
    url: str
    home: str
    before: dict[File, Mark] = field(default_factory=dict)
    _log_begin: int = 0

    def start(self, skew_s: float = 0.0) -> "subprocess.Popen[str]":
        """Starts a run, or the same command again."""
        log = self.site.log_path
        self._log_begin = log.stat().st_size if log.exists() else 0
        return self.site.process(self.url, self.executor, self.home, skew_s)

    def stop_at(self, point: Point, run: "subprocess.Popen[str]") -> int:
        """Returns the id of a process that stands at a point, after two partitions have files and before all have."""
        wait_until(lambda: len({number for number, _ in committed(self.url)}) > 1, run, "two partitions had files")
        self.site.orders.place(point)
        wait_until(lambda: self.site.orders.stopped() is not None, run, f"one stood at {point}")
        self.before = self.finished()
        pid = self.site.orders.stopped()
        assert pid is not None
        return pid

    def finished(self) -> dict[File, Mark]:
        """Returns the column files that are there now."""
        return committed(self.url, self.peaceful.columns)

    def finish(self, run: "subprocess.Popen[str]") -> None:
        """Waits for a run to finish.

        Raises:
            DataError: it says that not all went well.
        """
        if code := end_of(run):
            raise DataError(f"the run ended with {code}")

    def refused(self, run: "subprocess.Popen[str]", because: str) -> None:
        """Waits for a run to end with one message about storage.

        Raises:
            DataError: it ends otherwise.
        """
        code = end_of(run)
        if code != 1 or because not in self.site.log_since(self._log_begin):
            raise DataError(f"the run ended with {code}, and should end with 1 and {because!r}")

    def last_words(self) -> str:
        """Returns the last line that the last run printed."""
        lines = self.site.log_since(self._log_begin).strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def verdict(self, cell: str, went_on: str, seconds: float, problem: str = "") -> Verdict:
        """Returns what the data set is now, beside the peaceful one."""
        found = State.of(self.url, self.home, self.peaceful.columns)
        left = {name for place in (self.url, self.home) for name in leftovers(place)}
        swept = {"/".join(orphan.parts) for orphan in sweep(self.url, older_than_h=0.0)}
        scratch = dead_scratch(str(self.site.scratch))
        left |= {folder.name for folder in scratch}
        for folder in scratch:
            shutil.rmtree(folder)
        return Verdict(
            cell,
            went_on,
            differing=self.peaceful.differences(found),
            lost_rows=self.peaceful.lost_rows(found),
            done_twice=done_twice(self.url, self.before),
            left_over=sorted(left),
            stays=sorted(left - swept),
            seconds=seconds,
            problem=problem,
        )


def try_cell(cell: Cell, site: Site, songs: Path, peaceful: State) -> Verdict:
    """Returns what a cell comes to; whatever goes wrong in it is its problem."""
    name = str(cell).replace("/", "-")
    with site.lend(name) as (url, home), _disk(cell, site.folder / name, songs) as disk:
        trial = Trial(site, songs, peaceful, cell.executor, url, home)
        copy_songs(str(songs), trial.url)
        site.orders.clear()
        started, problem, went_on = time.monotonic(), "", ""
        try:
            went_on = _kill(cell, trial) if isinstance(cell, Kill) else AILMENTS[cell.trouble](trial, disk)
        except (AutosingError, OSError, psutil.Error, subprocess.SubprocessError) as error:
            problem = f"{error} (the last that was said: {trial.last_words()})"
            site.kill_all()
        return trial.verdict(str(cell), went_on, time.monotonic() - started, problem)


@contextmanager
def _disk(cell: Cell, folder: Path, songs: Path) -> Iterator[Disk | None]:
    """Mounts a disk for a cell whose trouble needs one, where that is allowed."""
    if needs_disk(cell):
        with small_disk(folder, ROOM + 2 * size_of(songs)) as disk:
            yield disk
    else:
        yield None


def _kill(cell: Kill, trial: Trial) -> str:
    if cell.victim == "peer":
        return _kill_peer(cell, trial)
    if cell.victim == "cable":
        return _pull_out(cell, trial)
    run = trial.start()
    strike(cell, trial.site, run, trial.stop_at(cell.point, run))
    if cell.victim in RUN_GOES_ON:
        trial.finish(run)
        return SAME_RUN
    if end_of(run) == 0:
        raise DataError(f"the run ended well although its {cell.victim} was killed")
    if cell.victim == "head":
        trial.site.new_cluster()
    trial.finish(trial.start())
    trial.site.clear_away()
    return SAME_COMMAND


def _kill_peer(cell: Kill, trial: Trial) -> str:
    """Of two runs at work on one data set, kills the one that has come to the point; the other is to finish."""
    one, two = trial.start(), trial.start()
    pid = trial.stop_at(cell.point, one)
    is_first = one.pid in (pid, *(parent.pid for parent in psutil.Process(pid).parents()))
    killed, other = (one, two) if is_first else (two, one)
    if other.poll() is not None:
        raise DataError("the other run had ended before one was killed")
    strike(cell, trial.site, killed, pid)
    trial.finish(other)
    trial.site.clear_away()
    return OTHER_RUN


def _pull_out(cell: Kill, trial: Trial) -> str:
    """Cuts off the host of a process that stands at the point, and lets it go on when others have done its work."""
    run, network = trial.start(), trial.site.network
    if network is None:
        raise DataError("there are no hosts whose cables could be pulled out")
    pid = trial.stop_at(cell.point, run)
    raylet = worker_of(pid).parent()
    assert raylet is not None
    network.pull_out(network.host_of(pid))
    trial.finish(run)
    trial.before = trial.finished()
    standing = psutil.Process(pid)  # Or it died meanwhile, and nothing was tried.
    trial.site.orders.release()
    # It computes, writes and publishes as if nothing had happened, if it can.
    with suppress(psutil.TimeoutExpired):
        standing.wait(ALONE_S)
    kill_family(raylet)
    trial.site.cluster().replace_lost()
    return SAME_RUN


def strike(cell: Kill, site: Site, run: "subprocess.Popen[str]", pid: int) -> None:
    """Kills a cell's victim while a process stands at the cell's point; what then lives of that process goes on."""
    standing = psutil.Process(pid)
    if cell.victim == "child":
        kill(standing)
    elif cell.victim == "worker":
        kill(worker_of(pid))
    elif cell.victim == "actor":
        end_actor(site, run, pid)
    elif cell.victim == "node":
        raylet = worker_of(pid).parent()
        assert raylet is not None
        kill_family(raylet)
        site.cluster().replace_lost()
    elif cell.victim == "head":
        site.cluster().lose_head()
    else:
        run.kill()
        run.wait()
    if cell.victim != "actor":
        with suppress(psutil.TimeoutExpired):
            standing.wait(GRACE_S)
        site.orders.release()


def end_actor(site: Site, run: "subprocess.Popen[str]", pid: int) -> None:
    """Has Ray kill the actor whose child a process is, in the moment in which it next looks after that."""
    site.orders.place(WATCH, worker_of(pid).pid)
    wait_until(lambda: site.orders.stopped() is not None, run, "the actor looked after its child")
    site.orders.release(END_ACTOR)


def _disk_full(trial: Trial, disk: Disk | None) -> str:
    run = trial.start()
    trial.stop_at("before-write", run)
    if disk is not None:
        disk.fill()
    trial.site.orders.release(*([] if disk else [f"{RAISE} {errno.ENOSPC}"]))
    trial.refused(run, "there is no space left; make room")
    if disk is not None:
        disk.make_room()
    trial.finish(trial.start())
    return f"{SAME_COMMAND}, with room"


def _read_only(trial: Trial, disk: Disk | None) -> str:
    run = trial.start()
    trial.stop_at("before-write", run)
    if disk is None:
        trial.site.orders.release(f"{RAISE} {errno.EROFS}")
    else:
        # A disk that is written to can't be made read-only: it is while nobody does.
        run.kill()
        run.wait()
        trial.site.orders.release()
        disk.freeze()
        run = trial.start()
    trial.refused(run, "make it writable and run the same command again")
    if disk is not None:
        disk.thaw()
    trial.finish(trial.start())
    return f"{SAME_COMMAND}, made writable"


def _wait_for_workers(trial: Trial) -> None:
    """Waits until the workers of a run whose driver is dead are gone, too."""
    deadline = time.monotonic() + 30
    places = trial.home, str(trial.site.scratch)
    while any(map(trial.site.open_below, places)) and time.monotonic() < deadline:
        time.sleep(0.1)


def _io_error(trial: Trial, disk: Disk | None) -> str:
    run = trial.start()
    trial.stop_at("read", run)
    trial.site.orders.release(f"{RAISE} {errno.EIO}")
    trial.finish(run)
    return SAME_RUN


def _slow_storage(trial: Trial, disk: Disk | None) -> str:
    trial.site.orders.slow_down(PAUSE_S)
    trial.finish(trial.start())
    trial.before = trial.finished()
    return SAME_RUN


def _clock_skew(trial: Trial, disk: Disk | None) -> str:
    """The first run's host is a day ahead, that of the second has the right time, and that of the third is behind."""
    run = trial.start(DAY_S)
    trial.stop_at("between-write-and-rename", run)
    run.kill()
    run.wait()
    trial.site.orders.release()
    _wait_for_workers(trial)
    if (store := Store(trial.url)).is_local:  # Other stores go by a clock of their own.
        for number, name in committed(trial.url):
            os.utime(store.path(str(number), f"{name}.parquet"), (time.time() + DAY_S, time.time() + DAY_S))
    trial.before = trial.finished()
    trial.finish(trial.start())
    finished = trial.finished()
    trial.finish(trial.start(-DAY_S))
    if trial.finished() != finished:
        raise DataError("a run whose clock was a day behind computed what was finished")
    return SAME_COMMAND


AILMENTS: dict[Trouble, Callable[[Trial, Disk | None], str]] = {
    "disk-full": _disk_full,
    "disk-read-only": _read_only,
    "io-error": _io_error,
    "slow-storage": _slow_storage,
    "clock-skew": _clock_skew,
}
