"""Stopping on SIGTERM and Ctrl-C after what is in hand: a step of training, partitions that are being computed."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

TERM = (signal.SIGTERM,)
TERM_AND_INT = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(numbers: Sequence[signal.Signals] = TERM_AND_INT) -> Iterator[threading.Event]:
    """Gives an event that SIGTERM and Ctrl-C, or other signals, set; a second Ctrl-C acts as if nobody listened.

    A second SIGTERM is none: a scheduler and torchrun may both tell a process to end, and it is ending.
    Outside the main thread, which alone may listen, the event is never set.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    former = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, former[signal.SIGINT])
        stopping.set()

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        restore()
