"""Text that nobody here wrote, made fit for a log, a record and a page."""

from typing import Final

# A client's own words reach the federation's log and records: a line of them is enough.
MAX_CHARACTERS: Final = 500


def printable(text: str, most: int = MAX_CHARACTERS) -> str:
    """Makes a line of a text that nobody here wrote: no control characters, no end."""
    # More than is kept is not looked at: it may be megabytes.
    cut = text[: 2 * most]
    line = "".join(each if each.isprintable() else _escape(each) for each in cut).strip()
    return line if len(line) <= most and len(cut) == len(text) else line[:most] + "…"


def _escape(character: str) -> str:
    return " " if character in "\n\r\t" else character.encode("unicode_escape").decode("ascii")
