"""One HTML page that loads nothing: style and script are inside it, and no others take effect."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autosing.page import numerals

BASE = Path(__file__).with_name("base.css")
TEMPLATE, STYLE, SCRIPT = "page.html.jinja", "page.css", "page.js"
FILTERS = ("whole", "number", "size", "duration")


def render_page(folder: Path, content: Mapping[str, Any], **filters: Callable[..., Any]) -> str:
    """Returns the page of a folder's `page.html.jinja`, which places `style`, `script` and `policy`.

    The style is that of all pages and the folder's `page.css`, the script its `page.js`. The content security policy
    names their digests and forbids everything else but pictures and sound inside the page, so that text from a data
    set or a log can do nothing, even where a template forgets to escape it.

    Args:
        folder: of the three files.
        content: what the template names; all text in it is escaped.
        filters: of the template, beside those for numbers.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(numerals, name) for name in FILTERS}, **filters)
    style = "".join(path.read_text(encoding="utf-8") for path in (BASE, folder / STYLE))
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    )
    return environment.get_template(TEMPLATE).render(content, style=style, script=script, policy=policy)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
