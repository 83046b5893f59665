"""Points of a run at which `autosing chaos` strikes: a process that reaches one stops there until it is dealt with.

In a run that is not to be disturbed, reaching a point costs one comparison. Otherwise the environment names a folder,
and a point is armed by a file there. The first process to rename that file has taken the order, so it strikes once; it
tells its process id and waits to be killed, or to be told how to go on.
"""

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Point = Literal["read", "decode", "model-call", "before-write", "between-write-and-rename", "after-rename"]
POINTS: tuple[Point, ...] = get_args(Point)
Watch = Literal["watch"]
WATCH: Watch = "watch"
"""Where a worker comes by again and again while its child computes."""
VARIABLE = "AUTOSING_FAULTS"
GO_ON, END_ACTOR, RAISE = "go on", "end the actor", "raise"
LOOK_EVERY_S, PATIENCE_S = 0.01, 300.0
_FOLDER = os.environ.get(VARIABLE)


def reached(point: Point | Watch) -> None:
    """Tells that the run is at a point; what happens there is up to `autosing chaos`.

    Raises:
        OSError: it wants storage to fail here.
    """
    if _FOLDER is not None:
        Orders(Path(_FOLDER)).meet(point)


@dataclass(frozen=True)
class Orders:
    """What is to happen at the points of a run, in a folder that all its processes see.

    Args:
        folder: of nothing else.
    """

    folder: Path

    def place(self, point: Point | Watch, pid: int | None = None) -> None:
        """Arms a point, and no other: the next process to reach it, or the one with that id, stops there."""
        self.clear()
        self._write(point, secrets.token_hex(4) + (f" {pid}" if pid else ""))

    def take_back(self) -> bool:
        """Disarms the point; returns whether that came too late, as somebody stands there or is about to tell so."""
        for point in (*POINTS, WATCH):
            (self.folder / point).unlink(missing_ok=True)
        return (self.folder / "taken").exists()

    def clear(self) -> None:
        """Forgets all orders, and what became of them; who was released goes on though he has not seen it yet."""
        for name in (*POINTS, WATCH, "taken", "stopped", "pause"):
            (self.folder / name).unlink(missing_ok=True)

    def slow_down(self, pause_s: float) -> None:
        """Makes every process pause at every point from now on."""
        self._write("pause", str(pause_s))

    def stopped(self) -> int | None:
        """Returns the id of the process that stands at the point that was armed; None where none does."""
        told = self._read("stopped")
        return None if told is None else int(told.split()[0])

    def release(self, how: str = GO_ON) -> None:
        """Lets who stands at a point go on: `GO_ON`, `END_ACTOR`, or `RAISE` and the number of an error."""
        if told := self._read("stopped"):
            self._write(f"released.{told.split()[1]}", how)

    def meet(self, point: Point | Watch) -> None:
        """Does at a point what was ordered, in the process that reached it."""
        if pause := self._read("pause"):
            time.sleep(float(pause))
        order, _, pid = (self._read(point) or "").partition(" ")
        if not order or pid not in ("", str(os.getpid())) or not self._take(point):
            return
        self._write("stopped", f"{os.getpid()} {order}")
        how = self._wait(order)
        if how == END_ACTOR:
            from autosing.cluster.session import end_this_actor

            end_this_actor()
        elif how.startswith(RAISE):
            code = int(how.removeprefix(RAISE))
            raise OSError(code, os.strerror(code))

    def _take(self, point: Point | Watch) -> bool:
        try:
            (self.folder / point).rename(self.folder / "taken")
        except FileNotFoundError:
            return False
        return True

    def _wait(self, order: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if (how := self._read(f"released.{order}")) is not None:
                return how
            time.sleep(LOOK_EVERY_S)
        return GO_ON

    def _read(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return None

    def _write(self, name: str, text: str) -> None:
        """Writes a file that is seen complete or not at all."""
        draft = self.folder / f"{name}.{os.getpid()}"
        draft.write_text(text)
        draft.rename(self.folder / name)
