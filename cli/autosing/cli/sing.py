"""`autosing sing`: lyrics sung, over a backing, in a voice."""

from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, Device, loudness_of, separator_of, show_singers
from autosing.pipeline.threads import one_thread
from autosing.signal.errors import UsageError


def sing(
    t2s: Annotated[str, typer.Argument(metavar="T2S", help="What `train t2s` made.")],
    sm2a: Annotated[str, typer.Argument(metavar="SM2A", help="What `train sm2a` made of the same tokens.")],
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="A .wav or .flac file.")] = None,
    codec: Annotated[
        str | None, typer.Option(help="What `train codec` made, or EnCodec, DAC, Mimi, SNAC: that of the SM2A's set.")
    ] = None,
    lyrics: Annotated[
        str | None, typer.Option(help="The text itself, or a .txt, .lrc (whose times are kept) or .json file.")
    ] = None,
    list_singers: Annotated[bool, typer.Option("--list-singers", help="Show whom the models know.")] = False,
    reference: Annotated[
        Path | None, typer.Option(help="A song that is taken apart: its backing is used, and its voice heard.")
    ] = None,
    singer: Annotated[
        str | None,
        typer.Option(help="NAME; several, ada:0.7,ben:0.3; in turns, 0:ada,12.5:ben; or the path of a recording."),
    ] = None,
    backing: Annotated[
        Path | None, typer.Option(help="Sung to this file, in place of the reference's backing.")
    ] = None,
    no_backing: Annotated[bool, typer.Option("--no-backing", help="Sung without one.")] = False,
    vocals_only: Annotated[bool, typer.Option("--vocals-only", help="OUT is the voice alone.")] = False,
    start: Annotated[float, typer.Option(help="Seconds into reference and backing at which the song begins.")] = 0.0,
    length: Annotated[
        float | None, typer.Option(help="Seconds; without it those of the reference, or as lyrics take.")
    ] = None,
    pace: Annotated[
        float | None, typer.Option(help="Characters a second of lyrics without times or length; 7 without it.")
    ] = None,
    takes: Annotated[int, typer.Option(help="How many; the best by re-alignment of the lyrics is OUT.")] = 1,
    retries: Annotated[int, typer.Option(help="How often windows with skipped or added lines are sung again.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first take; further ones have the next.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of what is sung; 0 takes the likeliest.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Of what is sung: so many tokens are drawn from; 0 is all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Of what is sung: tokens of so much probability are drawn from.")] = 0.95,
    guidance: Annotated[float, typer.Option(help="Of what is sung: how far towards lyrics, backing and singer.")] = 1.0,
    repetition: Annotated[float, typer.Option(help="Nats that a token loses that was sung within a second.")] = 0.0,
    codes_temperature: Annotated[float, typer.Option(help="Of how it sounds.")] = 0.8,
    codes_top_k: Annotated[int, typer.Option(help="Of how it sounds.")] = 0,
    codes_top_p: Annotated[float, typer.Option(help="Of how it sounds.")] = 0.95,
    codes_guidance: Annotated[float, typer.Option(help="Of how it sounds: how far towards what is sung.")] = 1.0,
    loudness: Annotated[str, typer.Option(help="source (as the reference's voice), none, or LUFS.")] = "source",
    window: Annotated[
        float | None, typer.Option(help="At most so many seconds are sung at once; as in training without it.")
    ] = None,
    context: Annotated[float, typer.Option(help="Seconds that the next window hears of the last.")] = 3.0,
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code; found by the words without it.")] = None,
    lexicon: Annotated[
        str, typer.Option(help="The pronunciation dictionary that T2S, or the aligner, was trained with.")
    ] = "",
    aligner: Annotated[str, typer.Option(help="Hears the lyrics in takes: shipped, or what `train aligner` made.")] = (
        "shipped"
    ),
    bits: Annotated[int, typer.Option(help="16 or 24.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make OUT again where it is there.")] = False,
    device: Annotated[Device, typer.Option(help="auto, cpu or cuda.")] = "auto",
    compile_: Annotated[
        bool, typer.Option("--compile", help="Make graphs of steps: minutes first, then quicker; for GPUs.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting of `stems`, or where the model is that hears singers: INSTANCE.FIELD=VALUE."
        ),
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was used as JSON.")] = False,
) -> None:
    """Sing lyrics; leaves OUT, its stems where it has a backing, and beside it a JSON of how it was made."""
    one_thread()
    if list_singers:
        _show_singers(t2s, sm2a, as_json)
        return
    if out is None or codec is None or lyrics is None:
        raise UsageError("sing needs T2S, SM2A, OUT, --codec and --lyrics; --list-singers shows whom the models know")
    from autosing.models.sampling import Sampling
    from autosing.singing.job import Target
    from autosing.singing.job import sing as sing_song
    from autosing.singing.lyrics import language_of, lyrics_file, read_lyrics
    from autosing.singing.models import load_performer
    from autosing.singing.reference import Sources
    from autosing.singing.text import Progress, lines_of
    from autosing.sounds.reading import references_in
    from autosing.synthesis.sing import Wanted
    from autosing.synthesis.singing.places import PACE_PER_S
    from autosing.training.provenance import provenance

    told = read_lyrics(lyrics)
    wanted = Wanted(
        told.since(start) if start and told.has_times else told,
        length,
        singer,
        takes,
        retries,
        seed,
        Sampling(temperature, top_k, top_p, guidance, repetition),
        Sampling(codes_temperature, codes_top_k, codes_top_p, codes_guidance),
        loudness_of(loudness),
        PACE_PER_S if pace is None else pace,
        window,
        context,
        language or language_of(told),
    )
    sources = Sources(reference, backing, not no_backing, start)
    has_stems = sources.gives_backing and not vocals_only
    target = Target(out, bits, overwrite, has_stems, takes, {"sources": sources.told(), **provenance()})
    target.check(*sources.files, *references_in(singer), *filter(None, [lyrics_file(lyrics)]))
    sources.check()
    performer = load_performer(t2s, sm2a, codec, set_ or [], device, aligner, lexicon, compile_)
    with Progress() as progress:
        progress.part("separation")
        given = sources.given(separator_of(config, set_, device) if reference else None)
        facts = sing_song(performer, wanted, given, target, progress)
    _show(facts, as_json, lines_of(facts))


def _show_singers(t2s: str, sm2a: str, as_json: bool) -> None:
    from autosing.singing.models import singers_of

    singers = singers_of(t2s, sm2a)
    by_recording = "the models sing like any recording: give the path of one as --singer, or as --reference"
    show_singers(singers, by_recording if singers is None else "the models were trained without singers", as_json)


def _show(facts: dict[str, object], as_json: bool, lines: list[str]) -> None:
    import json

    print(json.dumps(facts) if as_json else "\n".join(lines))
