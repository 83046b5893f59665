"""What `--lyrics` means: a file of text, LRC or JSON by its suffix, or the lyrics themselves."""

from pathlib import Path

from autosing.signal.errors import UsageError
from autosing.sounds.reading import is_file
from autosing.synthesis.singing.lyrics import Lyrics, json_lyrics, lrc_lyrics, plain_lyrics

FORMS = {".txt": plain_lyrics, ".lrc": lrc_lyrics, ".json": json_lyrics}
MOST_BYTES = 8 << 20


def lyrics_file(told: str) -> Path | None:
    """Returns the file that `--lyrics` names; None where it is a text."""
    suffix = Path(told).suffix.lower() if len(told) < 1024 and "\n" not in told else ""
    return Path(told) if suffix in FORMS else None


def read_lyrics(told: str) -> Lyrics:
    """Returns the lyrics of a file, or of a text.

    Raises:
        UsageError: the file cannot be read, is of another kind or is too large, or there is nothing to sing.
    """
    path = lyrics_file(told)
    if path is None and is_file(told):
        raise UsageError(f"--lyrics {told} is no {', '.join(FORMS)} file; give one, or the text itself")
    if path is None:
        return plain_lyrics(told)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"--lyrics {told} has more than {MOST_BYTES >> 20} MB; give lyrics")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"--lyrics {told} cannot be read ({error}); give a file in UTF-8, or the text") from error
    return FORMS[path.suffix.lower()](text)


def language_of(lyrics: Lyrics) -> str | None:
    """Returns the language of lyrics by their words, as the stage `lyric_language` does."""
    from autosing.signal.language import language, load_identifier

    found = language([line.text for line in lyrics.lines], load_identifier())
    return found.code if found else None
