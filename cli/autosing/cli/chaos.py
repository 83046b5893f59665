"""`autosing chaos`: what is promised of runs that die is tried out on this machine."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autosing.pipeline.chaos.verdict import Verdict


def chaos(
    data: Annotated[
        str | None, typer.Option(metavar="DATASET", help="One whose songs are taken; without it synthetic ones.")
    ] = None,
    store: Annotated[
        str, typer.Option(metavar="URL", help="Compute below this address (s3://BUCKET/FOLDER); without it on a disk.")
    ] = "",
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Give nodes of Ray hosts of their own, whose cables can be pulled out.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Cells by name, with * and ?: 'ray/worker/*'. --list tells the names.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="All without Ray, and two cells with it.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only tell the names of the cells.")] = False,
    soak: Annotated[bool, typer.Option("--soak", help="Kill at random moments in place of the matrix.")] = False,
    kills: Annotated[int, typer.Option(min=1, help="Of a soak, at most.")] = 200,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of a soak, at most; what was begun is finished.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of a soak: its victims and moments.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Kill runs wherever they can die, fill their disk, turn their clock, and compare with a run in peace.

    Exits with 1 where a column differs, a row is lost, or something that was finished is computed again.
    """
    from autosing.pipeline.chaos.campaign import try_cells, try_soak
    from autosing.pipeline.chaos.cells import QUICK, chosen, matrix, on_store
    from autosing.pipeline.chaos.soak import SoakPlan
    from autosing.pipeline.chaos.verdict import ON_STORE, table
    from autosing.signal.errors import UsageError

    if store and hosts:
        raise UsageError("hosts of their own reach no object store; leave --hosts or --store out")
    cells = chosen([*(only or ()), *(QUICK if quick else ())], on_store() if store else matrix(hosts))
    if list_:
        print("\n".join(map(str, cells)))
        return
    if soak:
        found = try_soak(SoakPlan(kills, minutes, seed), data, store, hosts=hosts, tell=_tell)
        verdicts: Sequence[Verdict] = found.rounds
        said = {"kills": dict(found.kills), "commands": found.commands, "seconds": round(found.seconds, 1)}
    else:
        found, said = None, {}
        verdicts = try_cells(cells, data, store, hosts=hosts, tell=_tell)
    if as_json:
        print(json.dumps({**said, "cells": [verdict.to_json() for verdict in verdicts]}))
    else:
        print(table(verdicts))
        if found:
            print(f"\n{found}")
        elif store:
            print(f"\n{ON_STORE}")
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else 1)


def _tell(verdict: "Verdict") -> None:
    from autosing.pipeline.chaos.verdict import complaint

    told = complaint(verdict) or f"{verdict.cell}: identical, {verdict.went_on}"
    print(f"{told} ({verdict.seconds:.0f} s)", file=sys.stderr, flush=True)
