"""`autosing push`: a model directory goes to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A directory that `train` or `fit` wrote.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Where to; made when it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
) -> None:
    """Upload MODEL_DIR to the Hugging Face hub with a model card; needs `hf auth login` or HF_TOKEN."""
    from autosing.models.hub import push_model

    print(push_model(model, repository, private=not public))
