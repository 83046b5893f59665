"""Runs `autosing` by a clock that is wrong.

python -m autosing.pipeline.chaos.skewed SECONDS ARGUMENT...
"""

import runpy
import sys
import time


def main() -> None:
    """Sets the clock of this process, and runs the command line."""
    offset_s = float(sys.argv.pop(1))
    now_s, now_ns = time.time, time.time_ns
    time.time = lambda: now_s() + offset_s
    time.time_ns = lambda: now_ns() + int(offset_s * 1e9)
    runpy.run_module("autosing.cli.main", run_name="__main__")


if __name__ == "__main__":
    main()
