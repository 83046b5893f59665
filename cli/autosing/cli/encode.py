"""`autosing encode`: sound files to what a model says of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config, Set
from autosing.pipeline.threads import one_thread

if TYPE_CHECKING:
    from autosing.pipeline.encode.features import Chain


def encode(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A content encoder, adapter, codec or codebook that was trained or fitted here, the hub id or path of "
            "a speech encoder or codec, or mfcc or log_mel.",
        ),
    ],
    paths: Annotated[
        list[str], typer.Argument(metavar="IN... OUT", help="Sound files or folders of them, and last a folder.")
    ],
    set_: Set = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what became of each file as JSON.")] = False,
) -> None:
    """Write for each sound file at IN what MODEL says of it: the columns of `process` as OUT/NAME.npz, and a .json."""
    one_thread()
    import json
    from dataclasses import asdict

    from autosing.pipeline.encode.features import chain_of
    from autosing.pipeline.encode.files import encode_files, sound_files
    from autosing.pipeline.encode.songs import SongEncoder
    from autosing.pipeline.progress import Bar
    from autosing.pipeline.settings import load_project
    from autosing.signal.errors import UsageError

    if len(paths) < 2:
        raise UsageError("encode needs MODEL, at least one file or folder IN and, last, the folder OUT")
    *inputs, out = paths
    files = sound_files(inputs)
    chain = chain_of(model, load_project(config), set_ or ())
    _warn(chain)
    done = encode_files(SongEncoder(chain), files, Path(out), Bar(len(files), "files"))
    failed = [one for one in done if one.error]
    if as_json:
        print(json.dumps([asdict(one) for one in done]))
    else:
        for one in failed:
            print(f"{one.file}: {one.error}")
        seconds = sum(one.seconds for one in done)
        print(f"{len(done) - len(failed)} of {len(done)} files, {seconds / 3600:.2f} h, in {out}")
    raise typer.Exit(3 if failed else 0)


def _warn(chain: "Chain") -> None:
    if chain.is_as_trained is False:
        told = f"{chain.model} was trained on other features than those of {chain.source} that were asked for"
        print(f"{told}; what it says of them may mean little", file=sys.stderr)
