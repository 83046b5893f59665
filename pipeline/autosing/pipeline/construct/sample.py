"""What a sample is: which columns of which cuts, filtered how, split by what."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autosing.signal.errors import UsageError
from autosing.signal.typed import of_mapping

Group = Literal["song", "singer"]

SHARD_BYTES = 256 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SampleSpec:
    """Says what `construct_dataset` writes.

    Args:
        name: its name.
        columns: array or value name in the sample -> address, or short name where that is unique.
        cuts: the instance whose cuts become samples; None makes every song one sample.
        group: what must not straddle a split: the work that is sung, or who sings it.
        audio: which audio becomes a FLAC member (mono, at its own rate); None for none.
        words: whether the JSON member holds the words with their times.
        snap: whether starts move to the common frame grid of the columns.
        min_s: shortest cut in seconds.
        max_s: longest cut in seconds, before snapping.
        quality: address of a number, or short name where that is unique -> lowest and highest that is kept.
        min_alignment: lowest `align.inlier_ratio` that is kept, where the data set has that column.
        valid_share: share of the groups that is held out for validation.
        test_share: share of the groups that is held out for tests.
        valid_songs: number of groups for validation, in place of the share.
        test_songs: number of groups for tests, in place of the share.
        salt: another salt gives other splits.
        shard_bytes: size of a tar.

    Raises:
        UsageError: a value is out of its range.
    """

    name: str
    columns: Mapping[str, str]
    cuts: str | None = "cuts"
    group: Group = "song"
    audio: Literal["voice", "mix"] | None = None
    words: bool = False
    snap: bool = True
    min_s: float = 0.5
    max_s: float | None = None
    quality: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    min_alignment: float | None = None
    valid_share: float = 0.05
    test_share: float = 0.0
    valid_songs: int | None = None
    test_songs: int | None = None
    salt: str = "autosing"
    shard_bytes: int = SHARD_BYTES

    def __post_init__(self) -> None:
        """Checks what the types can't say."""
        for wrong, what in (
            (not self.columns and not self.audio, "columns: none are named and no audio is asked for"),
            (self.min_s <= 0, f"min_s: {self.min_s} is not above 0"),
            (self.max_s is not None and self.max_s < self.min_s, f"max_s: {self.max_s} is below min_s {self.min_s}"),
            (min(self.valid_share, self.test_share) < 0, "valid_share, test_share: a share is at least 0"),
            (self.valid_share + self.test_share >= 1, "valid_share + test_share: nothing is left for training"),
            (min(self.valid_songs or 0, self.test_songs or 0) < 0, "valid_songs, test_songs: a number is at least 0"),
            (self.shard_bytes < 1, f"shard_bytes: {self.shard_bytes} is not above 0"),
        ):
            if wrong:
                raise UsageError(f"samples.{self.name}.{what}")
        for name in self.columns:
            if not _NAME.fullmatch(name):
                raise UsageError(f"samples.{self.name}.columns: {name!r} is not a name of letters, digits and _")
        for address, (low, high) in self.quality.items():
            if not low <= high:
                raise UsageError(f"samples.{self.name}.quality.{address}: {low} is above {high}")

    @classmethod
    def of(cls, name: str, mapping: Mapping[str, Any], locate: Callable[[str], str] | None = None) -> "SampleSpec":
        """Returns the spec of a plain mapping, as `datasets.yaml` holds it; a list of columns keeps their short names.

        Args:
            name: its name.
            mapping: the fields.
            locate: returns where a field stands ("datasets.yaml:12: "), for messages.

        Raises:
            UsageError: an unknown key or a wrong type; the message lists what is allowed.
        """
        where = f"samples.{name}"
        if "name" in mapping:
            raise UsageError(f"{where}.name: unknown; a spec is named by its key, {name}")
        columns = mapping.get("columns", {})
        if isinstance(columns, list):
            columns = _by_short_name(columns, where)
        return of_mapping(cls, {**mapping, "columns": columns, "name": name}, where, locate)

    def requests(self, split: Literal["valid", "test"]) -> bool:
        """Returns whether a held-out split is asked for."""
        songs, share = (self.valid_songs, self.valid_share) if split == "valid" else (self.test_songs, self.test_share)
        return share > 0 if songs is None else songs > 0


def _by_short_name(addresses: list[Any], where: str) -> dict[str, Any]:
    names = [str(address).rpartition(".")[2] for address in addresses]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}.columns: {name!r} is there twice; name them: {{NAME: address, ...}}")
    return dict(zip(names, addresses, strict=True))


SAMPLES = {
    "acoustic": SampleSpec(
        "acoustic",
        {
            "units": "units.units",
            "mel": "mel.mel",
            "f0_hz": "f0.f0_hz",
            "voiced": "f0.voiced",
            "energy": "energy.energy",
        },
    ),
    "content": SampleSpec(
        "content",
        {
            "ssl": "ssl.ssl",
            "units": "units.units",
            "f0_hz": "f0.f0_hz",
            "voiced": "f0.voiced",
            "energy": "energy.energy",
        },
    ),
    "multires": SampleSpec("multires", {"ssl": "ssl.ssl", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced"}, audio="voice"),
    "soft_hubert": SampleSpec(
        "soft_hubert",
        {"units": "units.units", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced", "energy": "energy.energy"},
        audio="voice",
    ),
    "semantic": SampleSpec("semantic", {"ssl": "ssl.ssl"}),
    "singer": SampleSpec(
        "singer", {"mel": "mel.mel", "voice_activity": "voice_activity.voice_activity"}, group="singer"
    ),
    "sm2a": SampleSpec(
        "sm2a",
        {
            "semantic": "semantic.semantic",
            "codes_0": "codes.codes_0",
            "codes_1": "codes.codes_1",
            "codes_2": "codes.codes_2",
        },
    ),
    "svc": SampleSpec(
        "svc",
        {
            "soft_units": "content.soft_units",
            "mel": "mel.mel",
            "f0_hz": "f0.f0_hz",
            "voiced": "f0.voiced",
            "energy": "energy.energy",
        },
        audio="voice",
    ),
    "t2s": SampleSpec("t2s", {"semantic": "semantic.semantic"}, words=True),
    "vocoder": SampleSpec("vocoder", {"f0_hz": "f0.f0_hz", "voiced": "f0.voiced"}, audio="voice"),
}
"""The built-in specs by name."""
