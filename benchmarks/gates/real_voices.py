"""Voice conversion learned from the minutes of real voices that are at hand, on clips that nothing was trained on.

    python benchmarks/gates/real_voices.py DATA --page FOLDER [--steps N] [--vocoder MODEL]

DATA holds `nc/gtsinger`, `pjs` and `librispeech`: singers and speakers by clips. Of a singer's titles the second, the
fifth and so on are held out, with all their takes. Each held-out clip is converted to someone else, the others in
turns. There are no limits: the table says how far some minutes of voices and a core go.
"""

import argparse
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from svc import OF_UNITS, OF_VOCODER, STEPS, of_teacher, processed, student_of, trained  # noqa: E402
from synthetic_set import options_of_a_run  # noqa: E402

from autosing.evaluation.conversion.compare import Request, compare_conversions  # noqa: E402
from autosing.evaluation.conversion.songs import Choice  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.folder import FolderSource  # noqa: E402
from autosing.pipeline.ingest.partitions import NewSong, append_songs  # noqa: E402
from autosing.pipeline.ingest.source import Source  # noqa: E402
from autosing.pipeline.ingest.sources import LAYOUTS  # noqa: E402


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--student-steps", type=int, default=200, help="of `trajectory`; others take as long")
    parser.add_argument("--vocoder", default="", help="a model to begin from")
    parser.add_argument("--vocoder-steps", type=int, default=300)
    parser.add_argument("--objective", default="consistency")
    parser.add_argument("--guidance", type=float, default=1.5, help="towards the singer who is asked for")
    parser.add_argument("--k", type=int, default=256, help="units")
    parser.add_argument("--page", type=Path, help="a folder for a page to listen to")
    options_of_a_run(parser)
    options = parser.parse_args()
    options.content = "units"
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        heard, held_out = divided(folder, options)
        shards = folder / "shards"
        if not shards.exists():
            spec = replace(SAMPLES["svc"], columns=OF_UNITS, valid_songs=6, test_songs=0)
            construct_dataset([NamedDataset("real", heard)], str(shards), spec)
        trained("svc", shards, folder / "teacher", options.steps, of_teacher(options))
        begun = [f"begin_from={options.vocoder}"] if options.vocoder else []
        vocoder = trained("vocoder", shards, folder / "vocoder", options.vocoder_steps, [*OF_VOCODER, *begun])
        student = student_of(options.objective, shards, folder, options)
        choice = Choice(sum(len(part.ids()) for part in held_out.partitions))
        models = (str(folder / "teacher" / "model"), student)
        request = Request(
            models, vocoder, choice, STEPS, seed=options.seed, voices=heard, guidance=options.guidance, shown=6
        )
        print("\n".join(compare_conversions(held_out, request, options.page).lines))


def divided(folder: Path, options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Returns the clips to learn from and those that are held out, with their columns by the codebook of the first."""
    # The first lies where `processed` looks for its codebook.
    urls = [str(folder / "set" / "songs"), str(folder / "held_out")]
    if not Path(urls[1]).exists():
        parts: tuple[list[NewSong], list[NewSong]] = ([], [])
        by_singer = defaultdict(list)
        for clip in clips(options.data):
            by_singer[clip.text.get("singer") or clip.text.get("artist")].append(clip)
        for singer, own in by_singer.items():
            titles = sorted({title_of(clip) for clip in own})
            for clip in own:
                parts[title_of(clip) in titles[1::3]].append(clip)
            print(f"{singer}: {len(own)} clips of {len(titles)} titles, {len(titles[1::3])} of them held out")
        for url, part in zip(urls, parts, strict=True):
            append_songs(url, part)
    heard, held_out = (processed(folder, url, options) for url in urls)
    return heard, held_out


def title_of(clip: NewSong) -> str:
    """Returns what takes of one song have in common."""
    return clip.text.get("title") or clip.id


def clips(data: Path) -> list[NewSong]:
    """Returns what is sung in GTSinger and PJS, and what is read in LibriSpeech."""
    sung = [
        clip
        for layout, name in (("gtsinger", "nc/gtsinger"), ("pjs", "pjs"))
        for clip in LAYOUTS[layout].songs(Source(data / name))
    ]
    return [*sung, *FolderSource(data / "librispeech", "librispeech/").songs()]


if __name__ == "__main__":
    main()
