"""Which split a song is in: decided by its group alone, so that what must not straddle a split never does."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from autosing.pipeline.construct.sample import Group, SampleSpec
from autosing.signal.errors import DataError, UsageError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def group_of(group: Group, id: str, text: Mapping[str, str | None]) -> str | None:
    """Returns the group of a song: its work (title with artist) or else its id, or its singer.

    Args:
        group: which of the two.
        id: the song's id.
        text: its `title`, `artist` and `singer`.

    Returns:
        None where the singer is wanted and unknown.
    """
    if group == "singer":
        singer = singer_of(text)
        return None if singer is None else f"singer {_folded(singer)}"
    title = _folded(text.get("title"))
    return f"work {title} / {_folded(text.get('artist'))}" if title else f"id {id}"


def singer_of(text: Mapping[str, str | None]) -> str | None:
    """Returns the singer, by default the artist; None where neither is known."""
    return (text.get("singer") or "").strip() or (text.get("artist") or "").strip() or None


def _folded(name: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKC", name or "").casefold().split())


def merge_given(groups: Iterable[tuple[str, str | None]]) -> dict[str, Split | None]:
    """Returns each group with the split that the index gives it, or None.

    Raises:
        DataError: the index knows other splits, or puts one group into two.
    """
    merged: dict[str, Split | None] = {}
    for group, given in groups:
        known = next((s for s in SPLITS if s == given), None)
        if given and known is None:
            raise DataError(f"{group}: the index column `split` says {given!r}; known: {', '.join(SPLITS)}")
        before = merged.setdefault(group, known)
        if known and before and known != before:
            raise DataError(f"{group}: the index column `split` puts it into {before} and {known}; choose one")
        merged[group] = before or known
    return merged


def assign_splits(groups: Mapping[str, Split | None], spec: SampleSpec) -> dict[str, Split]:
    """Returns the split of each group: the given one, else by its salted hash.

    Shares are thresholds of the hash, so that a growing set moves no group. A number takes the groups of lowest
    (valid) or highest (test) hash.

    Args:
        groups: group -> split given by the index, or None.
        spec: says shares or numbers, and the salt.

    Raises:
        UsageError: a split that is asked for, or the training split, comes out empty.
    """
    position = {group: _position(group, spec.salt) for group, given in groups.items() if given is None}
    order = sorted(position, key=lambda group: (position[group], group))
    n_test = spec.test_songs
    lowest = set(order[: spec.valid_songs or 0])
    highest = set(order[len(order) - (n_test or 0) :]) if n_test else set()
    splits: dict[str, Split] = {group: given for group, given in groups.items() if given}
    for group, x in position.items():
        if group in lowest or (spec.valid_songs is None and x < spec.valid_share):
            splits[group] = "valid"
        elif group in highest or (n_test is None and x >= 1 - spec.test_share):
            splits[group] = "test"
        else:
            splits[group] = "train"
    _check_none_empty(splits, spec)
    return splits


def _position(group: str, salt: str) -> float:
    """Returns where a group lies in [0, 1)."""
    digest = hashlib.blake2b(f"{salt}\0{group}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def _check_none_empty(splits: Mapping[str, Split], spec: SampleSpec) -> None:
    found = set(splits.values())
    for split in ("valid", "test"):
        if spec.requests(split) and split not in found:
            raise UsageError(
                f"the split {split!r} is empty: none of the {len(splits)} groups ({spec.group}) falls into it; give a "
                f"number with --{split}-songs N, a bigger {split}_share, or an index column `split`"
            )
    if "train" not in found:
        raise UsageError(
            f"the split 'train' is empty: all {len(splits)} groups ({spec.group}) are held out; add data, or hold out "
            "fewer with --valid-songs N, a smaller valid_share or test_share, or an index column `split`"
        )
