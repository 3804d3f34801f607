"""Names of files for downloads: whatever a title holds, it is a name, and it stays within its header."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

MAX_CHARS: Final = 80
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|%]')


def attachment(name: str, extension: str, *, title: str | None = None) -> str:
    """A Content-Disposition (RFC 6266) for `name`, which is plain; programs that know more show `title`."""
    value = f'attachment; filename="{name}.{extension}"'
    shown = _file_name(title or "")
    if shown:
        # RFC 8187. All but letters, digits and "-._~" is escaped: nothing can end the value.
        value += f"; filename*=UTF-8''{quote(f'{shown}.{extension}', safe='')}"
    return value


def _file_name(title: str) -> str:
    """What of `title` can be in the name of a file anywhere: no path, nothing invisible, no text that turns
    its direction."""
    printable = (" " if unicodedata.category(c)[0] in "CZ" else c for c in title[: MAX_CHARS * 4])
    words = _NOT_IN_NAMES.sub(" ", "".join(printable)).split()
    return " ".join(words)[:MAX_CHARS].strip(" .")
