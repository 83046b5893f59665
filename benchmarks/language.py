"""Language models of tokens: whether one learning rate serves all widths, and what caches save.

    python benchmarks/language.py widths [--steps 75] [--seeds 3] [--arm "rate / width"] [--arm rate] [--arm muon]
    python benchmarks/language.py speed [--device cpu] [--size tiny] [--tokens 100] [--text 300] [--backing 600] [...]
    python benchmarks/language.py codes [--device cpu] [--size tiny] [--tokens 100] [--compile]
    python benchmarks/language.py rows [--steps 12]
    python benchmarks/language.py loss [--size tiny] [--vocabulary 8192] [--tokens 4096]

- `widths` learns toy songs, whose tokens follow their lyrics, at a width and at four times it with several learning
  rates, with matrices moved by 1/width of it, as usual, and by Muon at AdamW's step, and prints the cross-entropy on
  held-out songs, the mean over several beginnings. Exits with 1 unless the best rate is the same at both widths in
  the first.
- `speed` generates at batch 1 and 16, with sources of 300 and 600 tokens unless told otherwise; a song's window of 12 s
  has about 84 letters, 420 codes of two coarse levels, and 300 tokens. Beside it stands the reference's way (AutoSing):
  keys of tokens are kept, but those of the sources are computed for every token, by the same layers otherwise.
- `rows` trains T2S on toy songs of 1 to 20 s that have rows of their own, or share rows of 20 or 40 s, and tells how
  much of what is computed is padding, how many shapes batches have, and how long a second of song takes.
- `loss` takes the cross-entropy of states and its gradients, a stretch at a time and of all logits at once, each in a
  process of its own, and tells how long that takes and how much more memory than before.
- `codes` generates the four levels of a codec such as SNAC at 32 kHz, whose columns are 48 ms, in as many columns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clock import best_seconds
from machine import machine, peak_mb

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "training")]

from sung_letters import letters_sample  # noqa: E402
from toy_shards import write_set  # noqa: E402

from autosing.models.attention import Turns, present, turns_at  # noqa: E402
from autosing.models.codes_language import CodesFields, CodesLanguage, code_counts  # noqa: E402
from autosing.models.columns import ColumnFields  # noqa: E402
from autosing.models.generation import CodesGenerator, TokenGenerator  # noqa: E402
from autosing.models.language import LANGUAGE_SIZES, LanguageFields, TokenLanguage  # noqa: E402
from autosing.models.patterns import EMPTY  # noqa: E402
from autosing.models.sampling import Sampling, chosen, numbers  # noqa: E402
from autosing.models.stepping import Stepper  # noqa: E402
from autosing.models.width import lr_scales  # noqa: E402
from autosing.training.loader import Batch, Reading  # noqa: E402
from autosing.training.manifest import Manifest  # noqa: E402
from autosing.training.recipes import t2s  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402
from autosing.training.tasks.entropy_losses import cross_entropy  # noqa: E402
from autosing.training.tasks.t2s import T2sTask  # noqa: E402
from autosing.training.tasks.t2s_losses import true_cells  # noqa: E402

# As `autosing sing` has it.
USUAL = Sampling(temperature=0.8, top_p=0.95)

Counted = tuple[dict[str, Tensor], int]

ARMS = ("rate / width", "rate", "muon")
WIDTHS, RATES = (64, 256), (7e-4, 1.4e-3, 2.8e-3, 5.6e-3, 1.12e-2, 2.24e-2)
SONGS, HELD_OUT, BATCH = 120, 20, 8
SETTINGS = {"size": "tiny", "target": "units", "n_tokens": 12, "text_times": "words", "dropout": 0.0}


def batches(task: T2sTask, data: Path, split: str, n: int, size: int) -> list[Counted]:
    """Returns the samples of a split in batches, each with the number of its tokens."""
    shards, found = ShardSet.open(data, split), []
    for first in range(0, n, size):
        batch = task.collate([shards.read(i, ["units"]) for i in range(first, first + size)], training=False)
        arrays = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
        found.append((arrays, batch.tokens))
    return found


def optimisers(model: TokenLanguage, lr: float, arm: str) -> list[torch.optim.Optimizer]:
    """Returns what moves a model; each group has its own highest learning rate as `scale`."""
    scales = {} if arm == "rate" else lr_scales(model, model.fields.dim)
    turned = [p for p in scales if p is not model.readout.weight] if arm == "muon" else []
    others = [p for p in model.parameters() if not any(p is one for one in turned)]
    groups = [{"params": [p], "scale": lr * scales.get(p, 1.0)} for p in others]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)]
    if turned:
        muon = [{"params": turned, "scale": lr}]
        found.append(torch.optim.Muon(muon, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))  # type: ignore[arg-type]
    return found


def loss_of(model: TokenLanguage, batch: dict[str, Tensor]) -> Tensor:
    """Returns the cross-entropy of a batch in nats, summed."""
    return cross_entropy(model, model(batch, batch["tokens"]).states, true_cells(batch))


def learned(
    fields: LanguageFields, lr: float, arm: str, train: Sequence[Counted], steps: int, seed: int
) -> TokenLanguage:
    """Returns a model after some steps, the learning rate on a cosine after a tenth of them."""
    torch.manual_seed(seed)
    model = TokenLanguage(fields)
    moving = optimisers(model, lr, arm)
    for step in range(steps):
        batch, n_tokens = train[step % len(train)]
        model.zero_grad()
        (loss_of(model, batch) / n_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in moving:
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * min(1, 10 * (step + 1) / steps) * (1 + np.cos(np.pi * step / steps)) / 2
            optimiser.step()
    return model


@torch.no_grad()
def judged(model: TokenLanguage, valid: Sequence[Counted]) -> float:
    """Returns the cross-entropy in nats."""
    losses = [float(loss_of(model, batch)) for batch, _ in valid]
    return sum(losses) / sum(n for _, n in valid)


def widths(steps: int, n_seeds: int, arms: Sequence[str]) -> bool:
    """Prints the losses of widths and learning rates; returns whether one rate is the best at both in the first arm."""
    samples = [letters_sample(number) for number in range(SONGS + HELD_OUT)]
    with tempfile.TemporaryDirectory() as folder:
        data = write_set(Path(folder) / "set", {"train": [samples[:SONGS]], "valid": [samples[SONGS:]]})
        task: T2sTask = t2s(**SETTINGS).task(Manifest.read(data))
        train = batches(task, data, "train", SONGS, BATCH)
        valid = batches(task, data, "valid", HELD_OUT, HELD_OUT)
    print("| width | matrices move by | " + " | ".join(f"{lr:g}" for lr in RATES) + " | best |")
    print("|---|---|" + "---|" * len(RATES) + "---|")
    best: dict[str, list[float]] = {arm: [] for arm in arms}
    for arm in arms:
        for dim in WIDTHS:
            fields = replace(task.fields, dim=dim, layers=2, source_layers=1)
            losses = [
                np.mean([judged(learned(fields, lr, arm, train, steps, seed), valid) for seed in range(n_seeds)])
                for lr in RATES
            ]
            best[arm].append(RATES[int(np.argmin(losses))])
            told = " | ".join(f"{loss:.3f}" for loss in losses)
            print(f"| {dim} | {arm} | {told} | {best[arm][-1]:g} |", flush=True)
    return len(set(best[arms[0]])) == 1


def accompaniment(
    fields: ColumnFields, batch: int, device: torch.device, counts: Sequence[int] = (300, 600)
) -> dict[str, Tensor]:
    """Returns random sources of so many tokens."""
    found: dict[str, Tensor] = {}
    for (name, size), n in zip(fields.sources.items(), counts, strict=True):
        found[name] = torch.randint(1, size, (batch, n), device=device)
        found[f"{name}_s"] = (torch.arange(n, device=device) * 30 / n).expand(batch, n)
        found[f"{name}_counts"] = torch.full((batch,), n, device=device)
    return found


@torch.inference_mode()
def by_the_references_way(model: TokenLanguage, inputs: dict[str, Tensor], n: int) -> None:
    """Generates with keys and values of the sources computed for every token, and otherwise as ours, without graphs."""
    encoded = {}
    for name, encoder in model.encoders.items():
        turns = turns_at(inputs[f"{name}_s"])
        seen = present(inputs[f"{name}_counts"], inputs[name].shape[1])
        encoded[name] = encoder(inputs[name], turns, seen), turns, seen
    stepper, batch = Stepper(model), len(inputs["text"])
    state, places = stepper.begin(inputs, n), torch.arange(n, device=inputs["text"].device)
    turns_N, last_BR = stepper.turns(model.times_s(places)), inputs["text"].new_full((batch, 1), EMPTY)
    numbers_BN = numbers(range(batch), n).to(last_BR.device)
    for number in range(n):
        for block in model.blocks:
            block.heard(encoded)  # type: ignore[operator]
        logits = stepper.step(
            last_BR, places[number : number + 1], Turns(*(one[number : number + 1] for one in turns_N)), *state
        )
        last_BR = chosen(logits[:, 0].float(), numbers_BN[:, number], USUAL)[:, None]


def speed(args: argparse.Namespace, device: torch.device) -> None:
    """Prints tokens a second."""
    size, n, compiled, counts = args.size, args.tokens, args.compile, (args.text, args.backing)
    dim, layers, source_layers = LANGUAGE_SIZES[size]
    fields = LanguageFields(
        n_tokens=2048,
        rate="25",
        sources={"text": 257, "backing": 4097},
        dim=dim,
        layers=layers,
        source_layers=source_layers,
        mlp="swiglu",
        dropout=0.0,
    )
    model = TokenLanguage(fields).eval().to(device)
    model = model.bfloat16() if device.type == "cuda" else model
    generator = TokenGenerator(model, compile=compiled)
    for batch in args.batch or (1, 16):
        inputs = accompaniment(fields, batch, device, counts)
        calls = (
            lambda: generator.generate(inputs, [n] * batch, range(batch), USUAL),  # noqa: B023
            lambda: by_the_references_way(model, inputs, n),  # noqa: B023
        )
        own, other = best_seconds(calls, device.type, args.times)
        print(
            f"batch {batch}: {batch * n / own:.0f} tokens/s, {batch * n / other:.0f} by the reference's way, ", end=""
        )
        print(f"{other / own:.1f} times as many")


def codes_speed(size: str, n: int, device: torch.device, compiled: bool) -> None:
    """Prints codes a second, and seconds of sound."""
    dim, layers, source_layers = LANGUAGE_SIZES[size]  # type: ignore[index]
    fields = CodesFields(
        sources={"semantic": 2049, "backing": 4097},
        dim=dim,
        layers=layers,
        source_layers=source_layers,
        mlp="swiglu",
        dropout=0.0,
        sizes=(4096,) * 4,
        rates=("125/12", "125/6", "125/3", "250/3"),
        column_frames=4,
        delays=(0, 1, 2, 3),
    )
    model = CodesLanguage(fields).eval().to(device)
    generator = CodesGenerator(model.bfloat16() if device.type == "cuda" else model, compile=compiled)
    counts = code_counts(fields, n * 0.048)
    for batch in (1, 16):
        inputs = accompaniment(fields, batch, device)
        call = partial(generator.generate, inputs, [counts] * batch, range(batch), USUAL)
        (own,) = best_seconds([call], device.type)
        sung_s = batch * counts[-1] / float(fields.finest_rate)
        print(f"batch {batch}: {batch * sum(counts) / own:.0f} codes/s, {sung_s / own:.2f} seconds of sound a second")


def rows(n_steps: int) -> None:
    """Prints padding, shapes and time of batches whose samples have rows of their own, or share some."""
    samples = [letters_sample(number, int(n)) for number, n in enumerate(np.random.default_rng(0).integers(2, 36, 480))]
    with tempfile.TemporaryDirectory() as folder:
        data = write_set(Path(folder) / "set", {"train": [samples[:460]], "valid": [samples[460:]]})
        shards, manifest = ShardSet.open(data, "train"), Manifest.read(data)
        print("| row_s | padding of tokens | of text | shapes | CPU ms per second of song |\n|---|---|---|---|---|")
        for row_s in (0, 20, 40):
            task: T2sTask = t2s(**SETTINGS, row_s=row_s, seconds_per_batch=80.0).task(manifest)
            collate = partial(task.collate, training=True)
            reading = Reading(shards, task.config.columns, collate, 0, 80.0, rows=task.shared_rows)
            found = list(reading.epoch(0))
            print(f"| {row_s} | {_padding(found)} | {_ms_per_second(task, found[:n_steps]):.1f} |", flush=True)


def _padding(found: Sequence[Batch]) -> str:
    texts = [int((batch.arrays["text"] > 0).sum()) for batch in found]
    shares = [
        1 - sum(real) / sum(batch.arrays[name].size for batch in found)
        for name, real in (("tokens", [batch.tokens for batch in found]), ("text", texts))
    ]
    shapes = {tuple(array.shape for array in batch.arrays.values()) for batch in found}
    return f"{100 * shares[0]:.1f} % | {100 * shares[1]:.1f} % | {len(shapes)} of {len(found)} batches"


def _ms_per_second(task: T2sTask, found: Sequence[Batch]) -> float:
    torch.manual_seed(0)
    model, spent, seconds_ = task.build(), 0.0, 0.0
    for batch in found:
        arrays = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
        begun = time.process_time()
        task.losses(model, arrays, "model")["cross_entropy"].backward()
        spent, seconds_ = spent + time.process_time() - begun, seconds_ + batch.seconds
    return 1000 * spent / seconds_


def whole_loss(model: TokenLanguage, states: Tensor, cells: Tensor) -> Tensor:
    """Returns the cross-entropy in nats, summed, of all logits at once."""
    return functional.cross_entropy(model.read(states).float().flatten(0, 2), cells.flatten(), reduction="sum")


def loss_memory(size: str, vocabulary: int, n: int, way: str) -> None:
    """Prints time and memory of one way of taking the cross-entropy and its gradients."""
    dim = LANGUAGE_SIZES[size][0]  # type: ignore[index]
    fields = LanguageFields(
        n_tokens=vocabulary, rate="25", sources={"text": 257}, dim=dim, layers=1, source_layers=1, mlp="swiglu",
        dropout=0.0,
    )  # fmt: skip
    model, take = TokenLanguage(fields), {"stretches": cross_entropy, "whole": whole_loss}[way]
    states, cells = torch.randn(1, n, dim, requires_grad=True), torch.randint(0, vocabulary, (1, n, 1))
    take(model, states[:, :8], cells[:, :8]).backward()
    before, times = peak_mb(), []
    for _ in range(3):
        begun = time.perf_counter()
        take(model, states, cells).backward()
        times.append(time.perf_counter() - begun)
    print(f"{way:9}  {min(times):.2f} s  {peak_mb() - before:.0f} MB more")


def losses(args: argparse.Namespace) -> None:
    """Measures both ways in processes of their own."""
    for way in ("stretches", "whole"):
        told = ["--size", args.size, "--vocabulary", str(args.vocabulary), "--tokens", str(args.tokens), "--way", way]
        subprocess.run([sys.executable, __file__, "loss", *told], check=True)


def main() -> int:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("widths", "speed", "codes", "rows", "loss"))
    parser.add_argument("--steps", type=int, default=75)
    parser.add_argument("--seeds", type=int, default=3, help="beginnings of each model, of `widths`")
    parser.add_argument("--arm", action="append", choices=ARMS, help="of `widths`; all unless told")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="tiny", choices=tuple(LANGUAGE_SIZES))
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--text", type=int, default=300, help="tokens of the text, of `speed`")
    parser.add_argument("--backing", type=int, default=600, help="codes of the backing, of `speed`")
    parser.add_argument("--batch", type=int, action="append", help="of `speed`; 1 and 16 unless told")
    parser.add_argument("--times", type=int, default=3, help="how often each way is measured, of `speed`")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--way", choices=("stretches", "whole"), help="of the loss, in this process")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.way:
        loss_memory(args.size, args.vocabulary, args.tokens, args.way)
        return 0
    print(machine(("torch",)))
    if args.what == "rows":
        rows(min(args.steps, 12))
        return 0
    if args.what == "loss":
        losses(args)
        return 0
    if args.what == "speed":
        speed(args, torch.device(args.device))
        return 0
    if args.what == "codes":
        codes_speed(args.size, args.tokens, torch.device(args.device), args.compile)
        return 0
    return 0 if widths(args.steps, args.seeds, args.arm or ARMS) else 1


if __name__ == "__main__":
    sys.exit(main())
