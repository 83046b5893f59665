"""How far a column reaches, as one bar of shares."""

from markupsafe import Markup

from autosing.page.numerals import whole
from autosing.page.svg import Scale, drawing, tag
from autosing.pipeline.report.tables import Stored

WIDTH = 76.0


def coverage(stored: Stored) -> Markup:
    """Returns the shares of the songs with a value, without one by nature, with errors, and not computed."""
    parts = [
        ("has", stored.with_value, "have a value"),
        ("none", stored.none, "have none by nature"),
        ("own", stored.own_errors, "have an error here"),
        ("inherited", stored.inherited, "have an error of an input"),
        ("absent", stored.absent, "not computed"),
    ]
    x = Scale(0, max(sum(n for _, n, _ in parts), 1), 0, WIDTH)
    content, left = [], 0
    for class_, n, told in parts:
        title = tag("title", f"{whole(n)} {told}")
        content.append(tag("rect", title, x=x(left), width=x(n), height=10, class_=class_) if n else Markup(""))
        left += n
    alt = ", ".join(f"{whole(n)} {told}" for _, n, told in parts if n)
    return drawing(content, WIDTH, 10, alt, preserveAspectRatio="none")
