"""Boxes, arrows and words as SVG that reads in light and in dark; what the pictures are made of."""

from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

_STYLE = """
svg{font:14px system-ui,sans-serif}
rect{fill:#eef3fa;stroke:#3b6ea5;stroke-width:1.5;rx:6}
rect.page{fill:#fff;stroke:none}
.user rect{fill:#eaf5ea;stroke:#4b8b4b}.wire rect{fill:#fdf2e2;stroke:#b5792a}
.frame{fill:none;stroke:#8899aa;stroke-dasharray:5 4}
text{fill:#1c2733;text-anchor:middle}.small{font-size:12px;fill:#4a5866}
.left{text-anchor:start}
path{stroke:#3b6ea5;stroke-width:1.8;fill:none;marker-end:url(#tip)}
.back path{stroke-dasharray:5 4}
@media(prefers-color-scheme:dark){
rect{fill:#1d2a3a;stroke:#6ea3dc}rect.page{fill:#0f1620;stroke:none}
.user rect{fill:#1d2f22;stroke:#7dbb7d}
.wire rect{fill:#33281a;stroke:#e0a95c}
text{fill:#e6edf3}.small{fill:#a9b7c6}path{stroke:#6ea3dc}}
"""
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
    ' markerHeight="7" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z"'
    ' style="fill:#3b6ea5;stroke:none;marker-end:none"/></marker></defs>'
)


class Box(NamedTuple):
    """A box by its corner and size, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def right(self) -> tuple[int, int]:
        """The middle of the right edge."""
        return self.x + self.width, self.y + self.height // 2

    def left(self) -> tuple[int, int]:
        """The middle of the left edge."""
        return self.x, self.y + self.height // 2

    def top(self) -> tuple[int, int]:
        """The middle of the upper edge."""
        return self.x + self.width // 2, self.y

    def bottom(self) -> tuple[int, int]:
        """The middle of the lower edge."""
        return self.x + self.width // 2, self.y + self.height


@dataclass
class Drawing:
    """One picture; what is added later lies on top."""

    width: int
    height: int
    title: str
    _parts: list[str] = field(default_factory=list)

    def box(self, box: Box, *lines: str, kind: str = "kernel") -> Box:
        """A box with its first line large and the others small; ``kind``: kernel, user, wire."""
        start = box.y + box.height / 2 + 5 - 8 * (len(lines) - 1)
        texts = "".join(
            f'<text class="{"small" if row else "name"}" x="{box.x + box.width // 2}"'
            f' y="{start + 17 * row:g}">{escape(line)}</text>'
            for row, line in enumerate(lines)
        )
        self._parts.append(
            f'<g class="{kind}"><rect x="{box.x}" y="{box.y}" width="{box.width}"'
            f' height="{box.height}"/>{texts}</g>'
        )
        return box

    def frame(self, box: Box, name: str) -> None:
        """A dashed frame around what belongs together, with its name inside at the top."""
        self._parts.append(
            f'<rect class="frame" x="{box.x}" y="{box.y}" width="{box.width}"'
            f' height="{box.height}" style="fill:none"/>'
        )
        self.words(box.x + 10, box.y + 18, name, left=True)

    def arrow(
        self, start: tuple[int, int], end: tuple[int, int], words: str = "", *, back: bool = False
    ) -> None:
        """A straight arrow, with words above its middle; dashed where it leads ``back``."""
        path = f"M{start[0]} {start[1]}L{end[0]} {end[1]}"
        self._parts.append(f'<g class="{"back" if back else "there"}"><path d="{path}"/></g>')
        if words:
            self.words((start[0] + end[0]) // 2, (start[1] + end[1]) // 2 - 7, words)

    def words(self, x: int, y: int, words: str, *, left: bool = False) -> None:
        """Small words; centred on ``x`` unless they begin there."""
        kind = "small left" if left else "small"
        self._parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>')

    def svg(self) -> str:
        """The whole file."""
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' role="img" aria-label="{escape(self.title)}">\n<title>{escape(self.title)}</title>\n'
            f"<style>{_STYLE}</style>\n{_TIP}\n"
            f'<rect class="page" width="{self.width}" height="{self.height}"/>\n{body}\n</svg>\n'
        )
