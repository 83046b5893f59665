"""Columns of one recording by a contract, whatever the voice of the training set was and wherever its models lie."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wave_checkpoints import SMALL

from autosing.pipeline.contract_columns import ContractColumns
from autosing.pipeline.dataset import Dataset, split_address
from autosing.pipeline.graph import Graph, Voice
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import Audio, decode
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.rows import DiskRows
from autosing.signal.singer import song
from autosing.signal.tape import Tape
from autosing.signal.voice import voices

HZ = 24_000


def contract_of(graph: Graph, columns: dict[str, str]) -> dict[str, Any]:
    """Returns what a trainer writes of columns, read back from JSON."""
    instances = {name: split_address(address)[0] for name, address in columns.items()}
    chain = [name for name in graph.closure(instances.values()) if name != "probe"]
    told = {
        "columns": columns,
        "definitions": {name: graph.definition(instance) for name, instance in instances.items()},
        "instances": {name: graph[name].stage.settings() for name in chain},
        "artefacts": {name: dict(graph.model_digests(name)) for name in chain if graph.model_digests(name)},
    }
    found: dict[str, Any] = json.loads(json.dumps(told))
    return found


def graph_of(voice: Voice = "index", *overrides: str, url: str = "") -> Graph:
    return Project().graph(DatasetEntry(url, voice=voice), overrides)


def recording(seconds: float = 3.0) -> Audio:
    return Audio(song(3, voices(2, 0)[0], seconds).wave[:, None], HZ, "wav/pcm_16")


ENERGY = {"energy": "energy.energy"}


@pytest.mark.parametrize("voice", ["index", "stems"])
def test_a_voice_is_taken_as_it_is_whatever_it_was_separated_from_in_training(voice: Voice) -> None:
    columns = ContractColumns("the model", contract_of(graph_of(voice), ENERGY))
    found = columns.hear(recording()).read(["energy"])["energy"]
    plain = ContractColumns("the model", contract_of(graph_of(), ENERGY)).hear(recording()).read(["energy"])
    np.testing.assert_array_equal(found, plain["energy"])
    assert found.shape == (300,) and found.max() > 0.01


def test_where_voices_were_denoised_a_recording_is_denoised_too(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, SyntheticSource(1, 3.0).songs())
    graph = graph_of("denoised", "denoise.audio=mix", url=url)
    process(Dataset(url), graph, ["energy"], RunOptions("local"), progress=Progress(0, quiet=True))
    (row,) = Dataset(url).read(["index.audio", "energy.energy"])
    columns = ContractColumns("the model", contract_of(graph, ENERGY))
    found = columns.hear(decode(bytes(row.values["index.audio"]))).read(["energy"])
    np.testing.assert_array_equal(found["energy"], row.values["energy.energy"])


def test_a_sample_may_call_a_column_as_it_likes() -> None:
    columns = ContractColumns("the model", contract_of(graph_of(), {"timbre": "ssl.ssl"}))
    assert columns.hear(recording()).read(["timbre"])["timbre"].shape == (150, 39)
    with pytest.raises(CheckpointError, match=r"was not trained on energy, .*its columns are timbre"):
        columns.hear(recording()).read(["energy"])


def test_what_was_asked_for_is_not_computed_again() -> None:
    columns = ContractColumns("the model", contract_of(graph_of(), {"a": "f0.f0_hz", "b": "f0.voiced"}))
    heard = columns.hear(recording())
    first = heard.read(["a"])["a"]
    assert heard.read(["a", "b"])["a"] is first


@pytest.fixture(scope="module")
def long_recording() -> Audio:
    """Two sections and a rest."""
    return Audio(np.tile(recording(15.0).samples, (9, 1))[: 128 * HZ + 77], HZ, "wav/pcm_16")


TRACKS = {"energy": "energy.energy", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced", "ssl": "ssl.ssl"}


@pytest.mark.parametrize("overrides", [(), ("ssl.model=log_mel", "f0.method=dio")])
def test_sections_of_a_tape_are_the_whole(long_recording: Audio, overrides: Sequence[str]) -> None:
    columns = ContractColumns("the model", contract_of(graph_of("index", *overrides), TRACKS), overrides)
    whole, found = (columns.hear(each).read(list(TRACKS)) for each in (long_recording, Tape.of(long_recording)))
    for name in TRACKS:
        assert isinstance(found[name], DiskRows)
        np.testing.assert_array_equal(found[name][:], whole[name])


def test_windows_of_an_encoder_lie_in_sections_as_in_the_whole(checkpoint: Path, long_recording: Audio) -> None:
    override = [f"ssl.model={checkpoint}"]
    contract = contract_of(graph_of("index", *override), {"ssl": "ssl.ssl"})
    columns = ContractColumns("the model", contract, override, device="cpu")
    whole, found = (columns.hear(each).read(["ssl"])["ssl"] for each in (long_recording, Tape.of(long_recording)))
    np.testing.assert_allclose(found[:], whole, atol=2e-2)


def test_what_looks_at_the_whole_song_gets_the_whole_song(checkpoint: Path, long_recording: Audio) -> None:
    """Praat's path, the mean that units take out, and noise that is taken off a stereo mix before it is one channel."""
    override = ["f0.method=praat"]
    contract = contract_of(graph_of("denoised", "denoise.audio=mix", *override), {"f0_hz": "f0.f0_hz"})
    columns = ContractColumns("the model", contract, override)
    stereo = Audio(np.hstack([long_recording.samples, 0.5 * long_recording.samples]), HZ, "wav/pcm_16")
    whole, found = (columns.hear(each).read(["f0_hz"])["f0_hz"] for each in (stereo, Tape.of(stereo)))
    np.testing.assert_array_equal(found, whole)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny HuBERT with weights at random."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.HubertModel(transformers.HubertConfig(**SMALL)).save_pretrained(tmp_path / "then")
    (tmp_path / "then" / "preprocessor_config.json").write_text('{"do_normalize": false, "sampling_rate": 16000}')
    return tmp_path / "then"


def test_a_model_may_lie_elsewhere_now_but_must_be_the_same(checkpoint: Path, tmp_path: Path) -> None:
    contract = contract_of(graph_of("index", f"ssl.model={checkpoint}"), {"ssl": "ssl.ssl"})
    now = checkpoint.rename(tmp_path / "now")
    with pytest.raises(UsageError, match=r"ssl\.model: .*/then does not exist"):
        ContractColumns("the model", contract).check(["ssl"])
    columns = ContractColumns("the model", contract, [f"ssl.model={now}"], device="cpu")
    assert columns.hear(recording(1.0)).read(["ssl"])["ssl"].shape == (50, 16)
    other = shutil.copytree(now, tmp_path / "other")
    (other / "preprocessor_config.json").write_text('{"do_normalize": true, "sampling_rate": 16000}')
    with pytest.raises(CheckpointError, match=r"the model was trained with ssl\.model = '\w+', but it is '\w+' here"):
        ContractColumns("the model", contract, [f"ssl.model={other}"]).check(["ssl"])


def test_what_a_stage_refuses_is_a_row_error() -> None:
    columns = ContractColumns("the model", contract_of(graph_of(), {"ssl": "ssl.ssl"}))
    broken = Audio(np.full((HZ, 1), np.nan, np.float32), HZ, "wav/float")
    with pytest.raises(RowError):
        columns.hear(broken).read(["ssl"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["f0.methode=praat"], "methode"),
        (["method"], "expected INSTANCE.FIELD=VALUE"),
        (["no.method=praat"], "the stage 'no' is unknown"),
    ],
)
def test_overrides_that_are_wrong_are_refused(overrides: Sequence[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ContractColumns("the model", contract_of(graph_of(), ENERGY), overrides)
