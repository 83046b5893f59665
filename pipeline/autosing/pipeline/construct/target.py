"""The folder that a set is built in: whether it is complete already, its scratch folder, and its completion."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autosing.pipeline.construct.manifest import MANIFEST, Manifest, digest_of
from autosing.pipeline.construct.split import SPLITS
from autosing.pipeline.leftovers import TEMPORARY
from autosing.pipeline.store import Store
from autosing.signal.errors import UsageError

SCRATCH = ".build-"
SHARD_FILE = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}\.(tar|idx\.npz)")
_NOTE = re.compile(rf"[0-9a-f]+-(?:{'|'.join(SPLITS)})-\d{{5,}}\.json")


@dataclass(frozen=True)
class Target:
    """Where a set is built.

    Args:
        out: the folder.
        parts_key: what pass 1 depends on; names the scratch folder.
        key: what the set depends on.
    """

    out: Store
    parts_key: str
    key: str

    @cached_property
    def scratch(self) -> Store:
        """Where parts lie until the set is complete: in the folder, or in a local one where that is an object store."""
        elsewhere = Path(tempfile.gettempdir(), f"autosing-{digest_of(self.out.url)}")
        folder = Path(self.out.path()) if self.out.is_local else elsewhere
        return Store(str(folder / f"{SCRATCH}{self.parts_key}"))

    def finished(self, overwrite: bool) -> Manifest | None:
        """Returns the manifest where the set is complete already.

        Raises:
            UsageError: another set is there and must not be replaced.
        """
        text = self.out.read_text(MANIFEST)
        if text is None:
            return None
        told = _parsed(text)
        if told.get("key") == self.key:
            manifest = Manifest.of_json(text)
            if self._holds(manifest):
                self._clean()
                return manifest
        elif not overwrite:
            raise UsageError(
                f"{self.out.url} holds another set (other data, spec or seed); give a new folder, or --overwrite"
            )
        self.out.remove(MANIFEST)
        return None

    def _holds(self, manifest: Manifest) -> bool:
        """Returns whether the files of a manifest are still there."""
        for shard in (shard for split in manifest.splits.values() for shard in split.shards):
            stamp = self.out.stamp(shard.path)
            if stamp is None or stamp.size != shard.bytes or self.out.stamp(shard.index) is None:
                return False
        return True

    def note(self, shard: str) -> str:
        """Returns the name of the file in the scratch folder that says that a shard is finished."""
        return f"{self.key}-{shard}.json"

    def prepare(self) -> None:
        """Makes the scratch folder and removes what other builds left; what this one left is kept.

        Builds that differ in seed or splits share parts. Their shards have the same names, so that a note that one is
        finished is true only until another build begins.
        """
        scratch = Path(self.scratch.path())
        self._clean(keep=scratch.name)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in self.scratch.files():
            if _NOTE.fullmatch(name) and not name.startswith(self.key):
                self.scratch.remove(name)

    def publish(self, manifest: Manifest) -> None:
        """Makes the set complete, and removes shards that are not its own and the scratch folder."""
        own = {f for split in manifest.splits.values() for shard in split.shards for f in (shard.path, shard.index)}
        for name in set(self.out.files()) - own:
            if SHARD_FILE.fullmatch(name):
                self.out.remove(name)
        manifest.write(self.out)
        self._clean()

    def _clean(self, keep: str = "") -> None:
        folder = Path(self.scratch.path()).parent
        for old in folder.glob(f"{SCRATCH}*"):
            if old.name != keep:
                shutil.rmtree(old)
        if self.out.is_local:
            for name in self.out.files():
                if name.startswith(TEMPORARY):
                    self.out.remove(name)
        elif folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def _parsed(text: str) -> Mapping[str, Any]:
    """Returns what a manifest says; nothing where it is none of ours."""
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
