"""How numbers are written in the report: few digits, thousands apart, with their units."""

from fractions import Fraction

THIN = "\u202f"  # The narrow no-break space between thousands, and between a number and its unit.
NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


def whole(n: int) -> str:
    """Returns a whole number with its thousands set apart."""
    return f"{n:,}".replace(",", THIN)


def plural(n: int, noun: str) -> str:
    """Returns a regular noun in the number that goes with `n`."""
    return noun if n == 1 else f"{noun}s"


def songs(n: int) -> str:
    """Returns how many songs."""
    return f"{whole(n)} {plural(n, 'song')}"


def number(value: float, unit: str = "", digits: int = 3) -> str:
    """Returns a number with that many significant digits and its unit."""
    if value == int(value) and abs(value) < 1e15:
        text = whole(int(value))
    elif abs(value) >= 10**digits:
        text = whole(round(value))
    else:
        text = f"{value:.{digits}g}"
    text = text.replace("-", "−")
    return f"{text}{THIN}{unit}" if unit else text


def size(n_bytes: int) -> str:
    """Returns a number of bytes in the largest fitting decimal unit."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return number(value, units[0])


def duration(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours."""
    if seconds < 60:
        return number(round(seconds, 1), "s")
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02}{THIN}min"
    return number(seconds / 3600, "h")


def rate_of(rate: Fraction) -> str:
    """Returns a frame rate in hertz."""
    return number(float(rate), "Hz", digits=5)


def note_name(midi: int) -> str:
    """Returns the name of a note with its octave: 69 is A4."""
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"
