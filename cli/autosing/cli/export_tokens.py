"""`autosing export-tokens`: a stream of tokens as the text that SingOMD and ESPnet read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName


def export_tokens(
    dataset: DatasetName,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Units, tokens or codes, e.g. tokens.tokens_20.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The text file: a line for each song.")],
    config: Config = None,
) -> None:
    """Write a column of tokens of DATASET as Kaldi-style text; `token_file` takes such a file up again."""
    from autosing.cli.options import open_dataset
    from autosing.pipeline.dataset import split_address
    from autosing.signal.errors import UsageError
    from autosing.signal.token_text import write_token_text

    opened, _ = open_dataset(dataset, config, None)
    address = opened.resolve(column)
    instance, name = split_address(address)
    found = next(c for c in opened.partitions[0].columns(instance) if c.name == name)
    if not found.is_series or found.numpy_dtype.kind != "u" or found.dim:
        raise UsageError(
            f"{address} is no stream of tokens but {found.dtype}; name a column of units, tokens, semantic or codes"
        )
    missing: list[str] = []

    def streams() -> Iterator[tuple[str, list[int]]]:
        for row in opened.read([address]):
            value = row.values[address]
            if value is None:
                missing.append(row.id)
            else:
                yield row.id, value.tolist()

    written = write_token_text(out, streams())
    print(f"{written} songs in {out}" + (f"; {len(missing)} without a value are not in it" if missing else ""))
