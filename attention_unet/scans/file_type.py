"""Recognise files that are no volumes by their first bytes."""

from pathlib import Path

POINTERS = (b"/annex/objects/", b"version https://git-lfs")
KINDS = {
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"\x1f\x8b": "is packed twice by gzip: unpack it once",
    b"/annex/objects/": "is a pointer of git-annex, not the file: fetch the file with 'datalad get' or 'git annex get'",
    b"version https://git-lfs": "is a pointer of Git LFS, not the file: fetch the file with 'git lfs pull'",
}
TAR_OFFSET, TAR = 257, b"ustar"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, at the start of a text


def is_pointer(path: Path) -> bool:
    """Return whether a file is a pointer of git-annex or Git LFS to content. Raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(POINTERS[1])).startswith(POINTERS)


def describe_other_type(start: bytes) -> str | None:
    """Return the type of a file that is no volume, and what to do, from its first few hundred bytes.

    Return None for volumes and unknown types.
    """
    if not start:
        return "is empty: copy it again"
    if start[TAR_OFFSET : TAR_OFFSET + len(TAR)] == TAR:
        return "is a tar archive: unpack it"
    text = start.removeprefix(BYTE_ORDER_MARK).lstrip()
    if text.startswith(b"<"):
        return "looks like a web page: log in and download the file itself"
    if text.startswith((b"{", b"[")):
        return "looks like JSON: expected a volume; check the path"
    return next((description for magic, description in KINDS.items() if start.startswith(magic)), None)
