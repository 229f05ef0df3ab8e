"""Lines out of the pieces that a stream arrives in."""

from typing import Final

_LONGEST: Final = 32 * 1024 * 1024
"""Bytes. The API server keeps no object of more than 1.5 MB or what its etcd was told to take."""


class EndlessLine(ValueError):
    """A line is longer than any that an API server sends."""


class Lines:
    """Puts lines together; each byte is copied at most twice, however small the pieces are."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._length = 0

    @property
    def is_within_one(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._begun)

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end with this piece, without empty ones; EndlessLine."""
        lines = piece.split(b"\n")
        if lines[0]:
            self._begun.append(lines[0])
            self._length += len(lines[0])
            if self._length > _LONGEST:
                raise EndlessLine
        if len(lines) == 1:
            return []
        lines[0] = b"".join(self._begun)
        last = lines.pop()
        self._begun, self._length = [last] if last else [], len(last)
        return [line for line in lines if line.strip()]
