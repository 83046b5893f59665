"""`autosing submit`: another command runs as a job on a Ray cluster, and goes on when this machine sleeps."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from autosing.cluster.jobs import JobServer
    from autosing.pipeline.settings import Project

PASSED_ON = {"ignore_unknown_options": True}
"""Options that `submit` doesn't know are the command's."""
PLACES = ("dataset", "datasets", "source", "target", "data", "out")
"""Arguments of commands that are places, which must be the same ones on the cluster."""
Id = Annotated[str | None, typer.Option(metavar="ID", help="Follow the log of a job that was submitted before.")]


def submit(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="A command of autosing with its arguments.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The head's dashboard: http://HEAD:8265.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Settings file that travels along; without it ./datasets.yaml, if there is one."),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="Environment variable of the job: NAME, as it is here, or NAME=VALUE.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="Ship the code of this wheel, not the code that runs here.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Follow the log; the exit code is the job's.")] = True,
    attach: Id = None,
    status: Annotated[str | None, typer.Option(metavar="ID", help="Say what state a job is in.")] = None,
    stop: Annotated[str | None, typer.Option(metavar="ID", help="Stop a job; what it has committed stays.")] = None,
) -> None:
    """Run COMMAND as a job on a Ray cluster, with the code and the settings file from here. Closing the lid is safe."""
    if sum(map(bool, (command, attach, status, stop))) != 1:
        raise UsageError("submit needs a COMMAND, as in `autosing submit process s3://bucket/songs`, or one of "
                         "--attach, --status, --stop with the ID of a job")  # fmt: skip
    if not address:
        raise UsageError("submit needs --address, the dashboard of the cluster's head, as http://HEAD:8265")
    from autosing.cluster.jobs import JobServer
    from autosing.pipeline.settings import load_project

    checked = _checked(context, command, load_project(config)) if command else []
    variables = dict(map(_variable, env or ()))
    server = JobServer(address)
    if status:
        print("  ".join(filter(None, server.status(status))))
    elif stop:
        print(f"{stop} is {'being stopped' if server.stop(stop) else 'no longer running'}")
    elif attach:
        _follow(server, attach)
    else:
        _start(server, checked, _settings(config), variables, wheel, follow)


def _start(
    server: "JobServer",
    command: list[str],
    settings: str,
    variables: Mapping[str, str],
    wheel: Path | None,
    follow: bool,
) -> None:
    id = server.submit(command, settings, variables, wheel)
    if follow:
        print(_later(server, id), file=sys.stderr, flush=True)
        _follow(server, id)
    else:
        print(_later(server, id), file=sys.stderr)
        print(id)


def _follow(server: "JobServer", id: str) -> None:
    try:
        code = server.follow(id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"autosing: {_later(server, id)}", file=sys.stderr)
        code = 130
    raise typer.Exit(code)


def _later(server: "JobServer", id: str) -> str:
    return f"{id} goes on by itself; look again with: autosing submit --attach {id} --address {server.address}"


def _checked(context: typer.Context, words: list[str], project: "Project") -> list[str]:
    """Returns a command that was understood here already, as the cluster is to run it.

    Raises:
        UsageError: it is unknown, or names a place on this machine only.
    """
    assert context.parent is not None
    known: Mapping[str, Any] = context.parent.command.commands  # type: ignore[attr-defined]
    name, *arguments = words
    if name not in known or name in ("submit", "demo"):
        raise UsageError(f"there is no command {name!r} to submit; there are: {', '.join(sorted(known))}")
    if hasattr(known[name], "commands"):
        return words
    parsed = known[name].make_context(name, list(arguments), parent=context.parent)
    for place in PLACES:
        given = parsed.params.get(place) or ()
        for path in map(str, given if isinstance(given, list | tuple) else [given]):
            _check_place(path, project)
    return [*words, *(("--address", "auto") if "address" in parsed.params else ())]


def _check_place(path: str, project: "Project") -> None:
    url = project.dataset(path).path
    if not url.startswith("/") and ":" not in url:
        raise UsageError(f"{url} is a path from this folder, and the job runs in another one; give a URL, or a whole "
                         "path that all nodes of the cluster see")  # fmt: skip


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals and name not in os.environ:
        raise UsageError(f"--env {name}: it is not set here; set it, or give NAME=VALUE")
    return name, value if equals else os.environ[name]


def _settings(config: str | None) -> str:
    """Returns the text of the settings file; an empty one keeps the job from finding another where it runs."""
    from autosing.pipeline.settings import DEFAULT_FILE

    path = Path(config or DEFAULT_FILE)
    return path.read_text(encoding="utf-8") if path.is_file() else ""
