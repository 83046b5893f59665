"""A store that exists on paper: column files are made up when somebody opens them, and every call is counted."""

import io
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from fsspec import AbstractFileSystem

from autosing.pipeline.dataset import INDEX
from autosing.pipeline.record import Record
from autosing.pipeline.store import Stamp
from fabricated import Template, records_of, templates_of

FILE_BYTES, WRITTEN_S = 4096, 1e9
LISTED_AT_ONCE = 1000
ROOT = "/set"


class PaperFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of one data set: which there are is known, what is in them follows from a seed."""

    protocol = "paper"
    cachable = True
    calls: ClassVar[Counter[str]] = Counter()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.partitions: dict[int, set[str]] = {}
        with tempfile.TemporaryDirectory() as scratch:
            self._templates: Mapping[str, Template] = templates_of(scratch)

    def fill(self, partitions: int, instances: Iterable[str] = ()) -> None:
        """Makes partitions with an index and the columns of `instances`."""
        self.partitions = {n: {INDEX, *instances} for n in range(partitions)}

    def records(self, number: int) -> dict[str, Record]:
        """Returns the records of a partition's columns, whether these are there or not."""
        return records_of(self._templates, Stamp(FILE_BYTES, int(WRITTEN_S * 1e9)), random.Random(str(number)))

    def find(self, path: str, **options: Any) -> dict[str, dict[str, Any]]:
        """Returns the files below a path: a request for each 1000 of them."""
        folder = self._strip_protocol(path).removeprefix(ROOT).strip("/")
        numbers = [int(folder)] if folder else list(self.partitions)
        paths = [f"{ROOT}/{n}/{name}.parquet" for n in numbers for name in sorted(self.partitions[n])]
        self.calls["list"] += 1 + len(paths) // LISTED_AT_ONCE
        return {path: self._told(path) for path in paths}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Returns what is known of a file."""
        self.calls["head"] += 1
        path = self._strip_protocol(path)
        folder, _, name = path.removeprefix(f"{ROOT}/").partition("/")
        if not folder.isdecimal() or name.removesuffix(".parquet") not in self.partitions.get(int(folder), ()):
            raise FileNotFoundError(path)
        return self._told(path)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.calls["get" if mode == "rb" else "put"] += 1
        if mode != "rb":
            return io.BytesIO()
        number, name = Path(path).parts[-2:]
        instance = name.removesuffix(".parquet")
        return io.BytesIO(self._templates[instance].with_record(self.records(int(number))[instance]))

    def _told(self, path: str) -> dict[str, Any]:
        return {"name": path, "size": FILE_BYTES, "type": "file", "ETag": path, "mtime": WRITTEN_S}
