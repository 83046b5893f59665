"""What converting long recordings takes, and whether windows are the whole: a tiny model that has learned for minutes.

    .venv/bin/python benchmarks/convert.py windows   # sections and windows beside the whole file, at borders and inside
    .venv/bin/python benchmarks/convert.py memory    # peak memory of 2, 10 and 30 minutes, from a file to a file
    .venv/bin/python benchmarks/convert.py speed     # real-time factor of each part
    .venv/bin/python benchmarks/convert.py compiled  # conformer, denoiser and vocoder by torch.compile, beside without

The models are made in the folder of `--models`, unless they are there. One thread.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402

from autosing.models.diffusion import leap, solve  # noqa: E402
from autosing.models.directory import load_model  # noqa: E402
from autosing.models.excitation import noise  # noqa: E402
from autosing.models.pieces import pieces  # noqa: E402
from autosing.models.svc import Known, SvcModel  # noqa: E402
from autosing.models.svc_sampling import MOST_CONTEXT, PIECE_FRAMES, Sampling, context_of, convert_mel  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.contract_columns import ContractColumns  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.signal.decode import Audio  # noqa: E402
from autosing.signal.framing import frames  # noqa: E402
from autosing.signal.singer import song  # noqa: E402
from autosing.signal.tape import Tape  # noqa: E402
from autosing.signal.voice import voices  # noqa: E402
from autosing.sounds.outputs import Outputs  # noqa: E402
from autosing.synthesis.conversion.windows import Source, Windows  # noqa: E402
from autosing.synthesis.convert import Converter, Wanted  # noqa: E402
from autosing.synthesis.resynthesize import way_of  # noqa: E402
from autosing.training.run import train  # noqa: E402
from clock import best_seconds  # noqa: E402
from gates.synthetic_set import built, only_at_the_end  # noqa: E402
from machine import machine, peak_mb  # noqa: E402

Array = npt.NDArray[Any]
HZ, VERSE_S = 24_000, 30.0
COLUMNS = {"ssl": "ssl.ssl", **{k: v for k, v in SAMPLES["svc"].columns.items() if k != "soft_units"}}
OF_TEACHER = ["size=tiny", "content=ssl", "lr=2e-3", "warmup_steps=20", "crop_s=1.92", "seconds_per_batch=16"]
OF_STUDENT = ["objective=easy", "crop_s=1.92", "seconds_per_batch=16", "lr=1e-3", "ema_decay=0"]
OF_VOCODER = ["size=tiny", "lr=2e-3", "warmup_steps=10", "seconds_per_batch=8", "adversarial_weight=0", "ema_decay=0"]
WAYS = {
    "student, 1 call": ("student", Sampling(1)),
    "student, 4 calls": ("student", Sampling(4)),
    "teacher, 4 steps of Heun": ("teacher", Sampling(4, "heun")),
    "teacher, 18 steps of Heun": ("teacher", Sampling(18, "heun")),
}
PARTS = ("content", "f0", "energy", "decoder", "vocoder")
# Frames beside a border that count as about it.
NEAR = 16
# Nats that a window may be off the whole by; how much more about borders than inside, on average, where it is more than
# float32's rounding through the layers.
MOST_OFF, MOST_RATIO, ROUNDING = 1e-3, 2.0, 1e-5


def main() -> None:
    """Measures one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("windows", "memory", "speed", "compiled", "one"))
    parser.add_argument("--models", type=Path, help="a folder that the models are kept in")
    parser.add_argument("--steps", type=int, default=200, help="that the teacher learns")
    parser.add_argument("--minutes", type=float, nargs="+", default=None)
    parser.add_argument("--device", default="cpu", help="of `compiled`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.models or Path(scratch)
        if options.what == "one":
            print(json.dumps(one(folder, options.minutes[0])))
            return
        print(machine(("torch", "numpy")))
        made(folder, options.steps)
        if options.what == "windows":
            windows(folder, (options.minutes or [10])[0])
        elif options.what == "memory":
            memory(folder, options.minutes or [2, 10, 30])
        elif options.what == "compiled":
            compiled(folder, options.device)
        else:
            speed(folder, (options.minutes or [2])[0])


def made(folder: Path, steps: int) -> None:
    """Trains teacher, student and vocoder on synthetic songs, unless they are there."""
    shards = folder / "set" / "shards"
    if not shards.exists():
        spec = replace(SAMPLES["svc"], columns=COLUMNS)
        built(folder / "set", SyntheticSource(32, 8.0, singers=4), spec, ("ssl", "f0", "energy", "mel"))
    taught = [*OF_STUDENT, f"begin_from={folder / 'teacher' / 'model'}"]
    for recipe, name, settings, n in (
        ("svc", "teacher", OF_TEACHER, steps),
        ("svc_student", "student", taught, steps // 4),
        ("vocoder", "vocoder", OF_VOCODER, 20),
    ):
        if not (folder / name / "model").exists():
            train(recipe, shards, folder / name, [*settings, "validate_samples=2", *only_at_the_end(n)])


def converter(folder: Path, name: str) -> Converter:
    """Returns the converter of a model of the folder."""
    loaded = load_model(folder / name / "model")
    return Converter(loaded, way_of(str(folder / "vocoder" / "model")), ContractColumns(name, loaded.contract))


def recording(minutes: float) -> Audio:
    """Returns a recording of verses, each sung anew until there are ten."""
    n_samples = round(minutes * 60 * HZ)
    voice = voices(8, 3)[5]
    n_verses = min(int(np.ceil(minutes * 60 / VERSE_S)), 10)
    verses = np.concatenate([song(9_000 + n, voice, VERSE_S).wave for n in range(n_verses)])
    return Audio(np.resize(verses, n_samples)[:, None], HZ, "wav/pcm_16")


def windows(folder: Path, minutes: float) -> None:
    """Prints how far windows are from the whole file, in nats; exit code 1 where a limit is passed."""
    audio = recording(minutes)
    passed = sectioned(converter(folder, "student"), audio)
    print(f"{minutes:g} minutes, windows of {PIECE_FRAMES} frames; spread of the mel's values beside the differences")
    print("| way | depends on frames | looks at | largest | mean about borders | mean inside | spread |")
    print("|---|---|---|---|---|---|---|")
    for way, (name, how) in WAYS.items():
        made_by = converter(folder, name)
        inputs = inputs_of(made_by, audio)
        n_frames = len(inputs["frame"])
        whole = whole_mel(made_by.model, inputs, how)
        off = np.abs(np.concatenate(list(convert_mel(made_by.model, inputs, how))) - whole)
        about = np.zeros(n_frames, bool)
        for border in range(PIECE_FRAMES, n_frames, PIECE_FRAMES):
            about[border - NEAR : border + NEAR] = True
        passed &= bool(off.max() <= MOST_OFF)
        passed &= bool(off[about].mean() <= max(MOST_RATIO * off[~about].mean(), ROUNDING))
        reach = context_of(made_by.model, how)
        row = [f"{off.max():.2e}", f"{off[about].mean():.2e}", f"{off[~about].mean():.2e}", f"{whole.std():.2f}"]
        print(f"| {way} | {reach} | {min(reach, MOST_CONTEXT)} | {' | '.join(row)} |", flush=True)
    limits = f"at most {MOST_OFF:g} nats, and {MOST_RATIO:g} times as much about borders, or {ROUNDING:g}"
    print(f"{limits}: {'passed' if passed else 'FAILED'}")
    sys.exit(not passed)


def sectioned(made_by: Converter, audio: Audio) -> bool:
    """Prints how far columns of sections are from those of the whole file; returns whether they are the same."""
    columns = ContractColumns("the model", made_by.contract)
    names = [*made_by.model.fields.streams, "f0_hz", "voiced", "energy"]
    whole, found = (columns.hear(each).read(names) for each in (audio, Tape.of(audio)))
    off = {name: float(np.abs(found[name][:].astype(float) - whole[name]).max()) for name in names}
    print("largest difference of columns of sections: " + ", ".join(f"{name} {value:g}" for name, value in off.items()))
    return not any(off.values())


def inputs_of(made_by: Converter, audio: Audio) -> Mapping[str, Array]:
    """Returns what a model is given of a recording."""
    fields, heard = made_by.model.fields, ContractColumns("the model", made_by.contract).hear(audio)
    series = heard.read([*fields.streams, "f0_hz", "voiced", "energy"])
    n_frames = frames(len(audio.samples), audio.sample_rate, made_by.spec.rate)
    weights = np.eye(fields.n_singers + 1, dtype=np.float32)[1]
    source = Source(
        series, fields.streams, fields.tokens, n_frames, made_by.rates, 0.0, 0.0,
        lambda first, last: {"singer_weights": np.tile(weights, (last - first, 1))},
    )  # fmt: skip
    return cast("Mapping[str, Array]", Windows(source))


@torch.inference_mode()
def whole_mel(model: SvcModel, inputs: Mapping[str, Array], how: Sampling) -> Array:
    """Returns the mel of a recording whose noise is taken away everywhere at once.

    What is known before is known in pieces, with all frames on either side that it depends on: attention to the whole
    of ten minutes takes 25 GB.
    """
    n_frames, n_mels = len(inputs["frame"]), model.fields.n_mels
    parts = []
    for first, last, seen_from, seen_to in pieces(n_frames, PIECE_FRAMES, model.context_frames):
        part = {name: torch.from_numpy(array[seen_from:seen_to])[None] for name, array in inputs.items()}
        found = model.known({**part, "mel_frames": torch.tensor([seen_to - seen_from])})
        kept = slice(first - seen_from, last - seen_from)
        parts.append([each[:, kept] for each in (found.coarse, found.log_spread, found.context, found.mask)])
    known = Known(*(torch.cat(each, dim=1) for each in zip(*parts, strict=True)))
    drawn = (
        torch.from_numpy(noise(0, n_frames * n_mels, how.seed * 1_000_003 + n)).reshape(1, n_frames, n_mels)
        for n in itertools.count()
    )
    if model.fields.distilled:
        open_BFM = leap(model.denoise(known), drawn, model.noise.levels(how.steps + 1)[:-1], model.noise.lowest)
    else:
        open_BFM = solve(model.denoise(known), next(drawn), model.noise.levels(how.steps), how.solver)
    mel: Array = model.mel(known, open_BFM)[0].numpy()
    return mel


def memory(folder: Path, minutes: Sequence[float]) -> None:
    """Prints the peak memory of a process that converts one recording, by its length."""
    print("| minutes | peak, MB | above one that converts nothing, MB | a minute of it, MB |\n|---|---|---|---|")
    nothing = measured(folder, 0)["peak_mb"]
    for each in minutes:
        peak = measured(folder, each)["peak_mb"]
        print(f"| {each:g} | {peak:.0f} | {peak - nothing:.0f} | {(peak - nothing) / each:.1f} |", flush=True)


def speed(folder: Path, minutes: float) -> None:
    """Prints the processor's time for each part, which other work on it does not change, as a share of the length."""
    audio = recording(minutes)
    print(f"{minutes:g} minutes, shares of its length")
    print("| way | content | F0 | energy | decoder | vocoder |\n|---|---|---|---|---|---|")
    for way, (name, how) in WAYS.items():
        row = [f"{seconds / (60 * minutes):.4f}" for seconds in spent_s(converter(folder, name), how, audio)]
        print(f"| {way} | {' | '.join(row)} |", flush=True)


def spent_s(made_by: Converter, how: Sampling, audio: Audio) -> list[float]:
    """Returns the seconds that a processor spends on each part of a conversion; loudness counts to the vocoder."""
    told: list[tuple[str, float]] = []
    made_by.convert(audio, Wanted(made_by.singers[0], steps=how.steps), lambda part: told.append(_now(part)))
    told.append(_now("end"))
    return [sum(b[1] - a[1] for a, b in itertools.pairwise(told) if a[0] == part) for part in PARTS]


@torch.inference_mode()
def compiled(folder: Path, device: str) -> None:
    """Prints what compiling brings to the parts of a window in the middle of a long recording."""
    n_frames = PIECE_FRAMES + 2 * MOST_CONTEXT
    made_by = converter(folder, "student")
    model = made_by.model.to(device)
    vocoder = load_model(folder / "vocoder" / "model").model.to(device)
    inputs = inputs_of(made_by, recording(n_frames / float(made_by.spec.rate) / 60 + 0.1))
    part = {name: torch.from_numpy(array[:n_frames])[None].to(device) for name, array in inputs.items()}
    known = model.known({**part, "mel_frames": torch.tensor([n_frames], device=device)})
    level_B, wave_BT = torch.ones(1, device=device), torch.zeros(1, n_frames * made_by.spec.hop, device=device)
    sung = {"frames": torch.tensor([n_frames], device=device), "mel": model.mel(known), "period_s": part["period_s"]}
    parts: dict[str, tuple[torch.nn.Module, tuple[Any, ...]]] = {
        "conformer": (model.conformer, (known.context[..., : model.fields.dim].contiguous(), known.mask)),
        "denoiser": (model.denoiser, (known.coarse, level_B, known.context, known.mask)),
        "vocoder": (vocoder, ({**sung, "pulses": wave_BT, "noise": wave_BT},)),
    }
    print(f"one window of {n_frames} frames, ms; the first call compiles")
    print("| part | as it is | compiled | | first call, s |\n|---|---|---|---|---|")
    for name, (module, given) in parts.items():
        (plain_s,) = best_seconds([partial(module, *given)], device, times=8)
        graph = torch.compile(module, mode="reduce-overhead" if device == "cuda" else None, dynamic=False)
        started = time.perf_counter()
        graph(*given)
        first_s = time.perf_counter() - started
        (quick_s,) = best_seconds([partial(graph, *given)], device, times=8)
        row = f"| {name} | {1000 * plain_s:.1f} | {1000 * quick_s:.1f} | {plain_s / quick_s:.2f} x | {first_s:.0f} |"
        print(row, flush=True)


def _now(part: str) -> tuple[str, float]:
    """Returns a part that begins, without how far it is, and the processor's time."""
    return part.partition(" ")[0], time.process_time()


def measured(folder: Path, minutes: float) -> dict[str, float]:
    """Returns what `one` tells in a process of its own."""
    command = [sys.executable, __file__, "one", "--models", str(folder), "--minutes", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one(folder: Path, minutes: float) -> dict[str, float]:
    """Returns the peak memory of this process after the conversion of a recording that lies in a file."""
    made_by = converter(folder, "student")
    made_by.convert(Audio(recording(0.2).samples, HZ, ""), Wanted(made_by.singers[0]))
    if minutes:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "long.wav"
            # Written by another process, or what it takes would be measured too.
            write = f"import convert; convert.write({str(path)!r}, {minutes})"
            subprocess.run([sys.executable, "-c", write], cwd=Path(__file__).parent, check=True)
            made = made_by.convert(Tape.decoded(path), Wanted(made_by.singers[0]))
            out = Outputs(Path(scratch), "flac")
            out.write(out.path("made"), made.samples, made.sample_rate, made.facts)
    return {"peak_mb": peak_mb()}


def write(path: str, minutes: float) -> None:
    """Writes a recording as WAV, ten minutes at a time."""
    import soundfile

    ten = recording(min(minutes, 10)).samples
    with soundfile.SoundFile(path, "w", HZ, 1, "PCM_16") as file:
        for done in np.arange(0, minutes, 10):
            file.write(ten[: round(min(minutes - done, 10) * 60 * HZ)])


if __name__ == "__main__":
    main()
