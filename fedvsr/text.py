"""Texts of tables and pages, and untrusted text made safe for them."""

from typing import Final

# Text that a client wrote reaches the federation's log and records, so it is limited to one line.
MAX_CHARACTERS: Final = 500


def printable(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Returns untrusted text as one line of limited length without control characters."""
    # The text may have megabytes, so only its start is escaped.
    start = text[: 2 * max_characters]
    line = "".join(
        character if character.isprintable() else _escape(character) for character in start
    ).strip()
    is_whole = len(line) <= max_characters and len(start) == len(text)
    return line if is_whole else line[:max_characters] + "…"


def _escape(character: str) -> str:
    return " " if character in "\n\r\t" else character.encode("unicode_escape").decode("ascii")


def without_password(address: str) -> str:
    """Returns an address with ``***`` in place of its user and password, for messages and logs.

    A password may contain any character, also "/" and "@", so everything up to the last "@" is replaced. The
    address of a file (``sqlite:///…``) names no user.
    """
    start = address.find("://") + len("://") if "://" in address else 0
    _, at, host = address[start:].rpartition("@")
    return f"{address[:start]}***@{host}" if at and address[start] != "/" else address


def megabytes(count: int, compression: float | None) -> str:
    """Returns a number of bytes in MB, and by how much a codec has divided it."""
    text = f"{count / 1e6:.1f}" if count >= 1e5 else f"{count / 1e6:.3f}"
    return text if compression is None else f"{text} (÷{compression:.1f})"
