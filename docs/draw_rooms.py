"""Draw the rooms of elmlff as docs/images/rooms.svg, from the imports in the source: `make docs` runs this.

Each room stands one floor above the highest room that it imports.  A line joins two rooms where one imports the other
and no longer way leads from one to the other.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CORE, PLUGINS = "elmlff_core", "elmlff_plugins"
TARGET = REPOSITORY / "docs" / "images" / "rooms.svg"
# Faces of the package hand on what is inside: they are no rooms.
FACES = {"__init__", "__main__", "pytest_plugin"}
Graph = dict[str, set[str]]

# Pixels.
WIDTH, BOX_WIDTH, BOX_HEIGHT, FLOOR, MARGIN = 960, 124, 34, 78, 20
STYLE = (
    "rect{fill:#e0f2f1;stroke:#00796b;stroke-width:1.2}"
    "rect.plugins{fill:#fff3e0;stroke:#ef6c00}"
    "path{fill:none;stroke:#90a4ae;stroke-width:1.1}"
    "text{font:14px sans-serif;fill:#212121;text-anchor:middle}"
)


def room(module: str) -> str | None:
    """Return the room that a module is in, or None where it is in none."""
    parts = module.split(".")
    if parts[0] == PLUGINS:
        return PLUGINS
    return parts[1] if parts[0] == CORE and len(parts) > 1 and parts[1] not in FACES else None


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those inside functions and for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_below() -> Graph:
    """Return the rooms that each room imports."""
    graph: Graph = {}
    for package in (CORE, PLUGINS):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            own = room(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
            if own is not None:
                below = {room(target) for target in imports(path)}
                graph.setdefault(own, set()).update(name for name in below if name not in (None, own))
    return {name: below & graph.keys() for name, below in graph.items()}


def floors(graph: Graph) -> dict[str, int]:
    """Return the floor of each room; the ground is 0."""
    found: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        found[name] = 1 + max((found[below] for below in graph[name]), default=-1)
    return found


def direct(graph: Graph) -> Graph:
    """Return the imports that no longer way of imports stands for."""
    reached: Graph = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        reached[name] = graph[name].union(*(reached[below] for below in graph[name]))
    return {
        name: {target for target in below if not any(target in reached[other] for other in below)}
        for name, below in graph.items()
    }


def places(graph: Graph) -> dict[str, tuple[float, float]]:
    """Return the middle of each room: floors upwards, and on a floor in the order of the rooms they stand on."""
    level = floors(graph)
    found: dict[str, tuple[float, float]] = {}
    for floor in range(max(level.values()) + 1):
        names = sorted(name for name in level if level[name] == floor)
        wanted = {name: _mean([found[below][0] for below in graph[name]]) for name in names}
        names.sort(key=lambda name: (wanted[name], name))
        y = MARGIN + BOX_HEIGHT / 2 + (max(level.values()) - floor) * FLOOR
        # Rooms of neighbouring floors stand side by side, so that lines pass between them.
        shift = BOX_WIDTH / 3 * (1 if floor % 2 else -1) if len(names) < 4 else 0.0
        for number, name in enumerate(names):
            found[name] = (WIDTH * (number + 0.5) / len(names) + shift, y)
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else WIDTH / 2


def drawing() -> str:
    """Return the picture as SVG."""
    lines = direct(rooms_below())
    middle = places(lines)
    height = max(y for _, y in middle.values()) + BOX_HEIGHT / 2 + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
        "<title>The rooms of elmlff: each imports from those below it alone</title>",
        f"<style>{STYLE}</style>",
    ]
    for name in sorted(lines):
        (x, y), half = middle[name], BOX_HEIGHT / 2
        for below in sorted(lines[name]):
            to_x, to_y = middle[below]
            bend = (to_y - y) / 2
            parts.append(
                f'<path d="M{x:.0f} {y + half:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} '
                f'{to_x:.0f} {to_y - half:.0f}"/>'
            )
    for name, (x, y) in sorted(middle.items()):
        kind = ' class="plugins"' if name == PLUGINS else ""
        left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
        parts.append(
            f'<rect{kind} x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    TARGET.write_text(drawing(), encoding="utf-8")
