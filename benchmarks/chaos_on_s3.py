"""`autosing chaos` on an S3 server that answers as a bad day does.

    python benchmarks/chaos_on_s3.py [--seed 0] [OPTION OF CHAOS ...]

moto's server is started, and before it a proxy that does to one request in twenty what a bad day does: 500, 503, an
answer lost after the request was carried out, a connection reset, a body cut. Column files are in no listing for their
first second. All else is up to `autosing chaos --store`. Exits with 1 where a cell does not hold, or the server tells
that a column file was written more than once, or that an upload was left open.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "pipeline")]

from s3_faults import Fault, FaultyS3  # noqa: E402
from s3_server import CREDENTIALS, PROGRAM, faulty_bucket, s3_server  # noqa: E402

from autosing.pipeline.catalogue import CATALOGUE  # noqa: E402
from machine import machine  # noqa: E402

SHARE = 0.01
FAULTS = [
    Fault("500", SHARE),
    Fault("503", SHARE),
    Fault("lost", SHARE),
    Fault("reset", SHARE),
    Fault("cut", SHARE, verbs=("GET", "LIST")),
    Fault("late list", seconds=1.0),
]
ENDING, INDEX = ".parquet", "/index.parquet"


def chaos_on(proxy: FaultyS3, arguments: list[str]) -> int:
    """Runs the command on a bucket; returns its exit code."""
    proxy.faults, proxy.only_late = FAULTS, ENDING
    command = [sys.executable, "-m", "autosing.cli.main", "chaos", "--store", proxy.url, *arguments]
    return subprocess.run(command, env=os.environ | CREDENTIALS, check=False).returncode


def check_server(proxy: FaultyS3) -> bool:
    """Prints what the server saw; returns whether each file was written once and no upload is open."""
    faults = {fault.kind for fault in FAULTS}
    told = Counter({name: n for name, n in proxy.counts.items() if name not in faults})
    made = Counter({name: n for name, n in proxy.counts.items() if name in faults})
    # Songs are copied before a run begins, where a lost answer may have them written again.
    files = {
        path: n for path, n in proxy.puts.items() if path.endswith(ENDING) and not path.endswith((CATALOGUE, INDEX))
    }
    again = sorted(path for path, n in files.items() if n > 1)
    print(f"\n{told.total()} requests ({_counted(told)}), faults: {_counted(made)}")
    print(f"{len(files)} column files written, more than once: {', '.join(again) or 'none'}")
    proxy.faults = []
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.upstream_port}/{proxy.bucket}?uploads") as answer:
        is_open = b"<Upload>" in answer.read()
    print(f"uploads left open: {'SOME' if is_open else 'none'}")
    return not again and not is_open


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} x {name}" for name, n in counts.most_common())


def main() -> None:
    """Starts the server and the proxy, and runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the order in which requests meet faults")
    options, arguments = parser.parse_known_args()
    program = shutil.which(PROGRAM, path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if program is None:
        raise SystemExit(f"{PROGRAM} is not installed: pip install 'moto[server,s3]'")
    print(machine(), flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        s3_server(program, Path(folder, "log.txt")) as port,
        faulty_bucket(port, options.seed) as proxy,
    ):
        code = chaos_on(proxy, arguments)
        sys.exit(code if check_server(proxy) else 1)


if __name__ == "__main__":
    main()
