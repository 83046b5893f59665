"""One thread per library: with several workers on a machine, more threads only fight for the cores."""

import os
import sys

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
VARIABLES = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment variables that must be set before the libraries are imported."""


def one_thread() -> None:
    """Limits this process's libraries to one thread, those that are loaded already included."""
    os.environ.update(VARIABLES)
    if "pyarrow" in sys.modules:
        import pyarrow as pa

        pa.set_cpu_count(1)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    if "faiss" in sys.modules:
        import faiss

        faiss.omp_set_num_threads(1)
