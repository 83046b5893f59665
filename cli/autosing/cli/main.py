"""The `autosing` command. Command bodies import what they need, so that `--help` and `status` are quick."""

import sys
from collections.abc import Sequence

import typer

from autosing.cli import (
    build,
    chaos,
    compare,
    convert,
    convert_checkpoint,
    data,
    demo,
    encode,
    evaluate,
    export_tokens,
    import_vocoder,
    ingest,
    process,
    push,
    resynthesize,
    sing,
    submit,
    train,
    upkeep,
)
from autosing.signal.errors import AutosingError

app = typer.Typer(
    help="From a folder of songs to a singing voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("ingest")(ingest.ingest)
app.command("process")(process.process)
app.command("fit")(process.fit)
app.command("retry")(process.retry)
app.command("status")(data.status)
app.command("explain")(data.explain)
app.command("errors")(data.errors)
app.command("verify")(upkeep.verify)
app.command("gc")(upkeep.gc)
app.command("repartition")(upkeep.repartition)
app.command("chaos")(chaos.chaos)
app.command("submit", context_settings=submit.PASSED_ON)(submit.submit)
app.command("build")(build.build)
app.command("train")(train.train)
app.command("push")(push.push)
app.command("convert")(convert.convert)
app.command("sing")(sing.sing)
app.command("convert-checkpoint")(convert_checkpoint.convert_checkpoint)
app.command("encode")(encode.encode)
app.command("import-vocoder")(import_vocoder.import_vocoder)
app.command("resynthesize")(resynthesize.resynthesize)
app.command("compare")(compare.compare)
app.command("export-tokens")(export_tokens.export_tokens)
app.command("demo")(demo.demo)
app.command("report")(demo.report)
app.add_typer(evaluate.app, name="eval")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line (the process's own by default); a known error becomes one message and its exit code."""
    try:
        app(arguments)
    except AutosingError as error:
        print(f"autosing: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("autosing: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
