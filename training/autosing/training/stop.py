"""Stopping on SIGTERM and Ctrl-C after the step in hand."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Gives an event that SIGTERM and Ctrl-C set; a second Ctrl-C acts as if nobody listened.

    A second SIGTERM is none: a scheduler and torchrun may both tell a process to end, and it is saving its state.
    Outside the main thread, which alone may listen, the event is never set.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    former = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, former[signal.SIGINT])
        stopping.set()

    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        restore()
