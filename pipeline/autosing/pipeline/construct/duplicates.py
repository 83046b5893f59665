"""Which groups hold the same recording: they become one, so that no recording is in two splits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from autosing.pipeline.construct.parts import Part
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError
from autosing.signal.fingerprint import Landmarks, same_recordings

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Duplicates:
    """The recordings that are there more than once.

    Args:
        group_of: group -> the first by name of all groups that share recordings with it, itself among them; of groups
            that share none there is nothing.
        recordings: how many there are more than once.
        songs: how many songs hold them.
    """

    group_of: Mapping[str, str]
    recordings: int = 0
    songs: int = 0

    def merged(self, groups: Iterable[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """Returns groups and the splits that the index gives them, under the name that those of one recording share.

        Raises:
            DataError: the index puts groups of one recording into different splits.
        """
        merged: list[tuple[str, str | None]] = []
        known: dict[str, tuple[str, str]] = {}
        for group, given in groups:
            shared = self.group_of.get(group, group)
            merged.append((shared, given))
            other, split = known.setdefault(shared, (group, given)) if given else (group, given)
            if other != group and split != given:
                raise DataError(
                    f"{other} and {group} hold the same recording, and the index column `split` puts them into {split} "
                    f"and {given}; choose one, or leave the songs of one out (exclude.txt)"
                )
        return merged


def find_duplicates(parts: Sequence[Part], scratch: Store) -> Duplicates:
    """Returns the duplicates among the songs that have samples; it holds their fingerprints, 2 kB each, at once."""
    groups: list[str] = []
    songs: list[Landmarks] = []
    for part in parts:
        index = part.index(scratch)
        groups += [part.groups[number][0] for number in index["heard_group"].tolist()]
        songs += np.split(index["fingerprints"], np.cumsum(index["heard_landmarks"]))[:-1]
    pairs = same_recordings(songs)
    songs_of = Counter(connected(pairs).values())
    return Duplicates(
        connected((groups[i], groups[j]) for i, j in pairs), recordings=len(songs_of), songs=songs_of.total()
    )


def connected(pairs: Iterable[tuple[T, T]]) -> dict[T, T]:
    """Returns for each thing in a pair the smallest of all things that pairs connect it with."""
    above: dict[T, T] = {}

    def smallest(thing: T) -> T:
        while (parent := above.setdefault(thing, thing)) != thing:
            above[thing] = above[parent]
            thing = parent
        return thing

    for one, other in pairs:
        low, high = sorted((smallest(one), smallest(other)))
        above[high] = low
    return {thing: smallest(thing) for thing in list(above)}
