"""What a file is that is taken for a volume by mistake, told by its first bytes, and what to do about it."""

KINDS = {
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"\x1f\x8b": "is packed by gzip once more: unpack it",
    b"/annex/objects/": "is a pointer of git-annex, not the file: fetch that with 'datalad get' or 'git annex get'",
    b"version https://git-lfs": "is a pointer of Git LFS, not the file: fetch that with 'git lfs pull'",
}
TAR_AT, TAR = 257, b"ustar"
MARK = b"\xef\xbb\xbf"  # of UTF-8, before a text


def mistaken_for(start: bytes) -> str | None:
    """What a file is, and the next step, by its first few hundred bytes; None if that is nothing known."""
    if not start:
        return "is empty: copy it again"
    if start[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return "is a tar archive: unpack it"
    text = start.removeprefix(MARK).lstrip()
    if text.startswith(b"<"):
        return "looks like a web page: log in and download the file itself"
    if text.startswith((b"{", b"[")):
        return "looks like JSON: expected a volume; check the path"
    return next((told for first, told in KINDS.items() if start.startswith(first)), None)
