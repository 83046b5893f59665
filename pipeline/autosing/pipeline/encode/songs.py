"""A song through the stages that lead to a model, as `process` takes it, and nothing stored on the way."""

from typing import Any

from autosing.pipeline.dataset import INDEX
from autosing.pipeline.encode.features import Chain
from autosing.pipeline.graph import reads_index
from autosing.pipeline.outcomes import Models, outcomes
from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.signal.errors import RowError


class SongEncoder:
    """Applies a model to songs; what is loaded is kept.

    Args:
        chain: the stages.

    Raises:
        UsageError: a stage is configured wrongly.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain, self._graph = chain, chain.graph
        self._names = self._graph.closure([chain.kind.stage])
        self._streamed = self._graph.streamed(self._names)
        for name in self._names:
            self._graph.check_reads(name)
        # What a data set's index would say of the song.
        self._unknown = {f"{INDEX}.{column}": None for column in reads_index(self._graph, self._names)}
        self._models = Models()

    @property
    def columns(self) -> tuple[Column, ...]:
        """What is said of a song."""
        return self._graph[self.chain.kind.stage].columns

    def encode(self, id: str, audio: bytes) -> Song:
        """Returns a song with the values of all stages.

        Raises:
            RowError: it can't be decoded, or there is nothing to be said of it.
        """
        values = {**self._unknown, f"{INDEX}.audio": audio}
        song = Song(id, values, self._graph.audio_addresses, self._streamed)
        for name in self._names:
            instance = self._graph[name]
            (outcome,) = outcomes(instance.stage, [song], self._models.of(instance.stage, self._graph.definition(name)))
            if isinstance(outcome, RowError):
                raise outcome
            song.values |= {f"{name}.{c.name}": c.canonical(outcome.get(c.name)) for c in instance.columns}
        return song

    def values(self, song: Song) -> dict[str, Any]:
        """Returns what the model says of an encoded song, by the names of its columns."""
        return {column.name: song[f"{self.chain.kind.stage}.{column.name}"] for column in self.columns}
