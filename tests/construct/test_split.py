"""Splits by group."""

from dataclasses import replace

import pytest

from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.split import assign_splits, group_of, merge_given
from autosing.signal.errors import DataError, UsageError

SPEC = SampleSpec("x", {"mel": "mel.mel"}, valid_share=0.1, test_share=0.1)


def groups(n: int) -> dict[str, None]:
    return {f"group {i}": None for i in range(n)}


def test_growing_a_set_moves_no_group() -> None:
    small, large = assign_splits(groups(300), SPEC), assign_splits(groups(3000), SPEC)
    assert {g: large[g] for g in small} == small


def test_shares_are_met_and_a_larger_valid_share_takes_nothing_from_the_tests() -> None:
    before, after = assign_splits(groups(3000), SPEC), assign_splits(groups(3000), replace(SPEC, valid_share=0.3))
    assert 250 < list(before.values()).count("valid") < 350
    assert [g for g, s in before.items() if s == "test"] == [g for g, s in after.items() if s == "test"]
    assert all(after[g] == "valid" for g, s in before.items() if s == "valid")


def test_another_salt_gives_other_splits() -> None:
    assert assign_splits(groups(300), SPEC) != assign_splits(groups(300), replace(SPEC, salt="other"))


def test_numbers_of_groups_are_exact() -> None:
    splits = assign_splits(groups(10), replace(SPEC, valid_songs=2, test_songs=3))
    assert sorted(splits.values()) == ["test"] * 3 + ["train"] * 5 + ["valid"] * 2


def test_the_given_split_wins_for_the_whole_group() -> None:
    merged = merge_given([("a", None), ("a", "test"), ("b", None), ("c", "train"), ("d", "valid")])
    splits = assign_splits(merged, replace(SPEC, valid_share=0.5, test_share=0))
    assert (splits["a"], splits["c"], splits["d"]) == ("test", "train", "valid")


def test_a_group_in_two_given_splits_and_an_unknown_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"work x / y: .* train and valid"):
        merge_given([("work x / y", "train"), ("work x / y", "valid")])
    with pytest.raises(DataError, match="'dev'; known: train, valid, test"):
        merge_given([("id 1", "dev")])


@pytest.mark.parametrize(
    ("spec", "split"),
    [
        (replace(SPEC, valid_share=1e-9, test_share=0), "valid"),
        (replace(SPEC, valid_songs=1, test_share=1e-9), "test"),
        (replace(SPEC, valid_songs=5, test_songs=0), "train"),
    ],
)
def test_an_empty_split_names_the_ways_out(spec: SampleSpec, split: str) -> None:
    with pytest.raises(UsageError) as error:
        assign_splits(groups(5), spec)
    told = str(error.value)
    assert f"{split!r} is empty" in told
    for way in ("-songs N", "_share", "index column `split`"):
        assert way in told


def test_a_work_is_title_and_artist_however_they_are_written() -> None:
    one = group_of("song", "1", {"title": "Étude  No. 1", "artist": "ANNA"})
    assert one == group_of("song", "2", {"title": "étude no. 1 ", "artist": "Anna"})
    assert one != group_of("song", "3", {"title": "Étude No. 1", "artist": "Berta"})
    assert group_of("song", "4", {"title": None, "artist": "Anna"}) == "id 4"


def test_a_singer_defaults_to_the_artist_and_may_be_unknown() -> None:
    assert group_of("singer", "1", {"singer": None, "artist": "Anna"}) == group_of("singer", "2", {"singer": "anna"})
    assert group_of("singer", "3", {"singer": " ", "artist": None}) is None
