"""What micro-batches of windows of several songs save the stage `ssl`, on a CPU or a GPU.

    python benchmarks/ssl_batches.py [--device cuda] [--size base] [--minutes 8] [--windows 1,2,4,8]

A HuBERT with random weights, which take as long as others, encodes the same songs of one to four minutes: each as a
whole, as a script calls the library; in batches of the windows of one song; and in batches of those of all songs.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from transformers import HubertConfig, HubertModel  # noqa: E402

from autosing.pipeline.stages.ssl import Ssl  # noqa: E402
from autosing.signal.framing import frames  # noqa: E402
from autosing.signal.ssl import RATE, SAMPLE_RATE, Windowing, encode_songs, with_margins  # noqa: E402
from autosing.signal.ssl_encoder import Device, load_encoder  # noqa: E402
from clock import best_seconds  # noqa: E402
from machine import machine  # noqa: E402

Wave = npt.NDArray[np.float32]
SHORTEST_S, LONGEST_S = 60, 240
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
WINDOWING = Windowing.of_seconds(Ssl.window_s, Ssl.context_s)


def songs(minutes: float) -> list[Wave]:
    """Returns waves of one to four minutes, together at least so long; the same for every call."""
    generator = np.random.default_rng(0)
    found: list[Wave] = []
    while sum(map(len, found)) < minutes * 60 * SAMPLE_RATE:
        n_samples = int(generator.uniform(SHORTEST_S, LONGEST_S) * SAMPLE_RATE)
        found.append((generator.standard_normal(n_samples) / 8).astype(np.float32))
    return found


def arms(size: str, device: Device, waves: Sequence[Wave], windows: Sequence[int]) -> dict[str, Callable[[], object]]:
    """Returns what is measured, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        HubertModel(HubertConfig(**SIZES[size])).save_pretrained(folder)
        encoder = load_encoder(folder, device=device)
    counts = [frames(len(wave), SAMPLE_RATE, RATE) for wave in waves]

    def whole() -> None:
        for wave, n in zip(waves, counts, strict=True):
            encoder.encode(with_margins(wave, n, encoder.margins)[None])

    def together(n_windows: int) -> Callable[[], object]:
        return lambda: encode_songs(encoder, waves, counts, WINDOWING, n_windows)

    def one_by_one() -> None:
        for wave, n in zip(waves, counts, strict=True):
            encode_songs(encoder, [wave], [n], WINDOWING, max(windows))

    # A CPU is asked for batches, too, and has none of the half precision that goes with them on a GPU.
    encoder.batches = True
    warnings.filterwarnings("ignore", "CUDA is not available")
    found: dict[str, Callable[[], object]] = {"whole songs": whole, f"song by song, at most {max(windows)}": one_by_one}
    return found | {f"all songs, {n} at once": together(n) for n in windows}


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--windows", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--times", type=int, default=2, help="how often each way is measured")
    options = parser.parse_args()
    waves = songs(options.minutes)
    hours = sum(map(len, waves)) / SAMPLE_RATE / 3600
    print(machine(("torch", "transformers")))
    if options.device == "cuda":
        print(torch.cuda.get_device_name())
    print(f"HuBERT of size {options.size}, {len(waves)} songs, {60 * hours:.1f} minutes")
    measured = arms(options.size, options.device, waves, options.windows)
    taken = best_seconds(list(measured.values()), options.device, options.times)
    best = dict(zip(measured, taken, strict=True))
    reference = best[f"all songs, {options.windows[0]} at once"]
    print(f"{'windows':28}{'s':>9}{'audio h / h':>13}{'ratio':>8}")
    for name, took_s in best.items():
        print(f"{name:28}{took_s:>9.2f}{3600 * hours / took_s:>13.0f}{reference / took_s:>8.2f}")


if __name__ == "__main__":
    main()
