"""Tiny corpora in the layouts that people have, and what an ingest makes of them."""

import json
from pathlib import Path
from typing import Any

from toy_stages import tone

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import IngestResult
from autosing.pipeline.ingest.sources import IngestOptions, ingest

TEXT = ("lrc_lyrics", "raw_lyrics", "artist", "singer", "title", "language", "split")
TRUTH = ("ref_words", "ref_phones", "ref_notes")


def wav(number: int, seconds: float = 0.2) -> bytes:
    return tone(100 + number, seconds)


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def take(source: Path, url: Path, **options: Any) -> IngestResult:
    return ingest(str(source), str(url), IngestOptions(**options))


def songs(url: Path) -> dict[str, dict[str, Any]]:
    """Returns the text columns of every song by id."""
    rows = [r for p in Dataset(str(url)).partitions for r in p.rows([f"index.{c}" for c in TEXT])]
    return {r.id: {a.removeprefix("index."): v for a, v in r.values.items() if v is not None} for r in rows}


def truths(url: Path) -> dict[str, dict[str, Any]]:
    """Returns the reference columns that a song has, by id."""
    rows = [r for p in Dataset(str(url)).partitions for r in p.rows([f"reference.{c}" for c in TRUTH])]
    return {r.id: {a.removeprefix("reference."): v for a, v in r.values.items() if v is not None} for r in rows}


def audio(url: Path) -> dict[str, bytes]:
    return {r.id: r.values["index.audio"] for p in Dataset(str(url)).partitions for r in p.rows(["index.audio"])}


def brief(intervals: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Returns intervals as tuples of text, start, end and what else they have, times in ms."""
    return [
        (i["text"], round(1000 * i["start_s"]), round(1000 * i["end_s"]), *(i[k] for k in ("line", "midi") if k in i))
        for i in intervals
    ]


def ljspeech(root: Path) -> Path:
    rows = ['LJ001-0001|He said "1" loud.|He said "one" loud.', "LJ001-0002|as it was|"]
    write(root, {"metadata.csv": "\n".join(rows), "wavs/LJ001-0001.wav": wav(1), "wavs/LJ001-0002.wav": wav(2)})
    return write(root, {"README": "LJ"})


def vctk(root: Path) -> Path:
    for speaker in ("p225", "p226"):
        folder = f"wav48_silence_trimmed/{speaker}"
        write(root, {f"{folder}/{speaker}_001_mic{mic}.flac": wav(mic) for mic in (1, 2)})
        write(root, {f"txt/{speaker}/{speaker}_001.txt": "Please call Stella.\n"})
    return write(root, {"speaker-info.txt": "ID  AGE  GENDER  ACCENTS  REGION\np225  23  F    English    Southern\n"})


M4_ITEM = {
    "item_name": "Alto-1#美错#0000",
    "txt": "想爱 你",
    "phs": ["<AP>", "x", "iang", "iang", "ai", "<SP>", "n", "i"],
    "ph_dur": [0.2, 0.1, 0.3, 0.2, 0.4, 0.1, 0.05, 0.45],
    "notes": [0, 60, 60, 62, 62, 0, 64, 64],
    "notes_dur": [0.2, 0.4, 0.4, 0.2, 0.4, 0.1, 0.5, 0.5],
    "is_slur": [0, 0, 0, 1, 0, 0, 0, 0],
}


def m4singer(root: Path, *items: Any) -> Path:
    write(root, {"meta.json": json.dumps(items or [M4_ITEM], ensure_ascii=False)})
    names = [i["item_name"] for i in items or [M4_ITEM] if isinstance(i, dict)]
    return write(root, {f"{n.rpartition('#')[0]}/{n.rpartition('#')[2]}.wav": wav(i, 1.8) for i, n in enumerate(names)})


OPENCPOP_ROW = (
    "2001000001|感受SP停AP|g an sh ou SP t ing AP|G#4/Ab4 G#4/Ab4 F#4/Gb4 F#4/Gb4 rest F#4/Gb4 F#4/Gb4 rest|"
    "0.25 0.25 0.43 0.43 0.1 0.3 0.3 0.2|0.03 0.22 0.15 0.28 0.1 0.06 0.24 0.2|0 0 0 0 0 0 0 0"
)


def opencpop(root: Path) -> Path:
    files: dict[str, bytes | str] = {
        "segments/transcriptions.txt": f"{OPENCPOP_ROW}\n{OPENCPOP_ROW.replace('2001000001', '2044000001')}\n",
        "segments/test.txt": OPENCPOP_ROW.replace("2001000001", "2044000001"),
    }
    return write(root, files | {f"segments/wavs/{n}000001.wav": wav(n, 1.4) for n in (2001, 2044)})


def textgrid(tiers: dict[str, list[tuple[float, float, str]]]) -> str:
    """Returns a TextGrid in long form."""
    end = max(i[1] for tier in tiers.values() for i in tier)
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    rows += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for n, (name, intervals) in enumerate(tiers.items(), 1):
        rows += [f"item [{n}]:", 'class = "IntervalTier"', f'name = "{name}"', "xmin = 0", f"xmax = {end}"]
        rows.append(f"intervals: size = {len(intervals)}")
        for i, (start, stop, text) in enumerate(intervals, 1):
            rows += [f"intervals [{i}]:", f"xmin = {start}", f"xmax = {stop}", f'text = "{text}"']
    return "\n".join(rows) + "\n"


OPENCPOP_TIERS = {
    "句子": [(0.0, 0.5, "SP"), (0.5, 1.5, "感受"), (1.5, 2.0, "AP"), (2.0, 3.0, "停")],
    "汉字": [(0, 0.5, "SP"), (0.5, 1.0, "感"), (1.0, 1.5, "受"), (1.5, 2.0, "AP"), (2.0, 2.6, "停"), (2.6, 3.0, "_")],
    "音高": [(0, 0.5, "rest"), (0.5, 1.0, "C4"), (1.0, 1.5, "D#4/Eb4"), (1.5, 2.0, "rest"), (2.0, 3.0, "E4")],
    "音素": [(0, 0.5, "SP"), (0.5, 0.6, "g"), (0.6, 1.0, "an"), (1.0, 2.0, ""), (2.0, 3.0, "ing")],
}


def opencpop_songs(root: Path) -> Path:
    return write(root, {"wavs/2001.wav": wav(1, 3.0), "textgrids/2001.TextGrid": textgrid(OPENCPOP_TIERS)})


def opensinger(root: Path) -> Path:
    for side, folder in (("ManRaw", "0_光年之外"), ("WomanRaw", "12_左边_2")):
        write(root, {f"{side}/{folder}/{folder}_0.wav": wav(len(side)), f"{side}/{folder}/{folder}_0.txt": "感受停\n"})
        write(root, {f"{side}/{folder}/{folder}_0.lab": "gan shou ting"})
    return write(root, {"README.md": "x"})


def svcc(root: Path) -> Path:
    names = [f"Data/{s}/{n}.wav" for s in ("CDF1", "CDM1", "IDF1", "IDM1") for n in (10001, 10002)]
    return write(root, {n: wav(i) for i, n in enumerate(names)} | {"README.md": "x"})


JAMENDO_WORDS = [(1.0, 1.5, "nan"), (1.5, 2.0, "2.0"), (3.0, 3.5, "nan"), (3.5, 4.25, "4.25")]
JAMENDO_TEXT = ["l'été", "vient", "il", "part"]
JAMENDO_LINES = "start_time,end_time,lyrics_line\n1.0,2.0,l'été vient\n3.0,4.25,il part\n"


def jamendolyrics(root: Path) -> Path:
    """The layout of the public repository."""
    times = "word_start,word_end,line_end\n" + "".join(f"{s},{e},{line}\n" for s, e, line in JAMENDO_WORDS)
    about = "URL,Filepath,Artist,Title,Genre,LicenseType,Language,LyricOverlap,Polyphonic,NonLexical\n"
    about += "u,Le_temps_-_L'air.mp3,\"L'air, encore\",Le temps,Pop,BY,French,false,false,false\n"
    name = "Le_temps_-_L'air"
    write(root, {"JamendoLyrics.csv": about, f"mp3/{name}.mp3": wav(1, 5.0), f"annotations/words/{name}.csv": times})
    write(root, {f"annotations/lines/{name}.csv": JAMENDO_LINES, f"lyrics/{name}.txt": "l'été vient\n\nil part\n"})
    return write(root, {f"lyrics/{name}.words.txt": "\n".join(JAMENDO_TEXT)})


def jamendo_folders(root: Path) -> Path:
    """A folder for each song."""
    rows = [f"{s},{e},{line},{word}\n" for (s, e, line), word in zip(JAMENDO_WORDS, JAMENDO_TEXT, strict=True)]
    about = {"Artist": "L'air, encore", "Title": "Le temps", "Language": "French"}
    words = "word_start,word_end,line_end,word\n" + "".join(rows)
    write(root, {"le_temps/audio.mp3": wav(1, 5.0), "le_temps/meta.json": json.dumps(about)})
    return write(root, {"le_temps/words.csv": words, "le_temps/lines.csv": JAMENDO_LINES})


GTSINGER_WORDS = [
    {"word": "<AP>", "start_time": 0.0, "end_time": 0.2, "ph": ["<AP>"], "ph_start": [0.0], "ph_end": [0.2]},
    {"word": "oh", "start_time": 0.2, "end_time": 0.6, "ph": ["OW1"], "ph_start": [0.2], "ph_end": [0.6]},
    {
        "word": "yeah",
        "start_time": 0.6,
        "end_time": 1.0,
        "ph": ["Y", "AE1"],
        "ph_start": [0.6, 0.7],
        "ph_end": [0.7, 1],
    },
]
GTSINGER_NOTES = [([0], [0.0], [0.2]), ([60], [0.2], [0.6]), ([62, 64], [0.6, 0.8], [0.8, 1.0])]


def gtsinger(root: Path) -> Path:
    notes = [dict(zip(("note", "note_start", "note_end"), n, strict=True)) for n in GTSINGER_NOTES]
    sung = json.dumps([w | n for w, n in zip(GTSINGER_WORDS, notes, strict=True)])
    for number, take in enumerate(("Control_Group", "Glissando_Group", "Paired_Speech_Group")):
        folder = f"English/EN-Alto-1/Glissando/my love/{take}"
        write(root, {f"{folder}/0000.wav": wav(number, 1.2), f"{folder}/0000.TextGrid": "unread"})
        write(root, {f"{folder}/0000.json": json.dumps(GTSINGER_WORDS) if "Speech" in take else sung})
    return root


def gtsinger_clips(root: Path) -> Path:
    rows = ["file\tsinger\tlanguage\tsong\ttechnique_of_group\ttake\tstyle\tlyrics"]
    for number, take in enumerate(("control", "breathy", "speech")):
        rows.append(f"A/A_00_{take}.wav\tA\tChinese\t热雪\tBreathy\t{take}\tslow\t闪烁后")
        write(root, {f"A/A_00_{take}.wav": wav(number)})
    return write(root, {"clips.tsv": "\n".join(rows) + "\n"})


KANA = (("ま", "F", 4), ("た", "G", 4))


def musicxml(bars_of_rest: int = 0) -> str:
    rests = '<note><rest measure="yes"/><duration>4</duration></note>' * bars_of_rest
    notes = "".join(
        f"<note><pitch><step>{s}</step><octave>{o}</octave></pitch><duration>1</duration>"
        f"<lyric><text>{kana}</text></lyric></note>"
        for kana, s, o in KANA
    )
    tied = '<note><pitch><step>G</step><octave>4</octave></pitch><duration>1</duration><tie type="stop"/></note>'
    return f"<score-partwise><part><measure>{rests}{notes}{tied}</measure></part></score-partwise>"


def midi_file(*notes: tuple[int, int, int]) -> bytes:
    """Returns a MIDI file at 120 beats a minute of (pitch, first tick, last tick), 480 ticks a beat."""
    events = sorted([(a, 0x90, p) for p, a, b in notes] + [(b, 0x80, p) for p, a, b in notes])
    track, now = bytearray(), 0
    for tick, kind, pitch in events:
        delta = tick - now
        track += bytes([delta >> 7 | 0x80, delta & 0x7F] if delta > 127 else [delta]) + bytes([kind, pitch, 64])
        now = tick
    track += b"\x00\xff\x2f\x00"
    return b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def pjs(root: Path) -> Path:
    lab = "0 5000000 pau\r\n5000000 6000000 m\r\n6000000 10000000 a\r\n10000000 20000000 t\r\n"
    write(root, {"pjs001/pjs001_song.wav": wav(1, 2.5), "pjs001/pjs001_speech.wav": wav(2, 1.0)})
    write(root, {"pjs001/pjs001.lab": lab, "pjs001/pjs001.mid": midi_file((65, 480, 960), (67, 960, 1920))})
    return write(root, {"pjs001/pjs001.musicxml": musicxml(1), "pjs001/pjs001.txt": "key:Bb maj\nBPM:120\n"})


def context(phone: str, note: str, place: int) -> str:
    return f"p@xx^pau-{phone}+o=cl_xx/A:xx-xx/E:{note}]0^11=2/4~100!1@60#24+xx]{place}$2|0[12&0]48/F:G4#2#11"


def hts(root: Path) -> Path:
    rows = [("pau", "xx", 0), ("p", "F4", 1), ("o", "F4", 1), ("p", "F4", 2), ("a", "Gb4", 3)]
    lab = "".join(f"{i * 1_000_000} {(i + 1) * 1_000_000} {context(*row)}\n" for i, row in enumerate(rows))
    return write(root, {"f001_004.wav": wav(1, 0.6), "f001_004.lab": lab})


ULTRASTAR = """#TITLE:On the run
#ARTIST:Joshua
#LANGUAGE:English
#MP3:audio.wav
#BPM:150
#GAP:500
: 0 4 9 So
: 5 3 11  fa
: 8 2 12 ~r
- 12
* 14 4 14 Ho
F 18 2 0 me,
R 20 2 0  now
E
"""


def ultrastar(root: Path) -> Path:
    return write(root, {"Joshua - On the run/song.txt": ULTRASTAR, "Joshua - On the run/audio.wav": wav(1, 4.0)})


def jsonl(root: Path) -> Path:
    row = {"audio_filepath": "a/1.wav", "duration": 0.2, "text": "hello", "speaker": 3, "lang": "en", "song": "Hi"}
    return write(root, {"train.jsonl": json.dumps(row) + "\n", "a/1.wav": wav(1)})


def cut(id: str = "cut-1", **changes: Any) -> dict[str, Any]:
    """Returns a cut of lhotse: the second from 0.5 s of `rec.wav`."""
    recording = {
        "id": "rec",
        "sources": [{"type": "file", "channels": [0], "source": "rec.wav"}],
        "sampling_rate": 8000,
        "num_samples": 16000,
        "duration": 2.0,
    }
    supervision = {
        "id": f"{id}-s",
        "recording_id": "rec",
        "start": 0.0,
        "duration": 1.0,
        "channel": 0,
        "text": "can you",
        "speaker": "ann",
        "language": "English",
        "alignment": {"word": [["can", 0.1, 0.3, None], ["you", 0.5, 0.25, None]]},
    }
    made = {"id": id, "start": 0.5, "duration": 1.0, "channel": 0, "type": "MonoCut"}
    return made | {"supervisions": [supervision], "recording": recording} | changes


def lhotse(root: Path) -> Path:
    return write(root, {"cuts.jsonl": json.dumps(cut()) + "\n", "rec.wav": wav(1, 2.0)})


TREES = {
    "ljspeech": ljspeech,
    "vctk": vctk,
    "m4singer": m4singer,
    "opencpop": opencpop,
    "opencpop-songs": opencpop_songs,
    "opensinger": opensinger,
    "svcc": svcc,
    "jamendolyrics": jamendolyrics,
    "gtsinger": gtsinger,
    "pjs": pjs,
    "hts": hts,
    "ultrastar": ultrastar,
    "jsonl": jsonl,
    "lhotse": lhotse,
}
"""A tiny tree in each layout."""
