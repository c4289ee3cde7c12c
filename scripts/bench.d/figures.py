"""Writes the README's five figures and docs/performance.svg from the newest results of
`scripts/bench peers --newest`.

A figure is relative to haproxy: the median over the cells of a work, each the median of its rounds'
ratios; in parentheses the worst cell.

    python3 -B scripts/bench.d/figures.py [--check] [--results DIR]
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BEGIN = "<!-- figures:begin -->\n"
END = "<!-- figures:end -->"

# How names of results begin.
DATE = "2026-01-01-"

# Figures of a round, with the unit and the digits of what is shown.
PER_GIB = ("cpu_per_gib", "CPU s/GiB", 2)
PER_LINE = ("cpu_us_per_operation", "CPU µs a line", 1)
PER_TRIP = ("cpu_us_per_operation", "CPU µs", 1)
PER_HANDSHAKE = ("cpu_us_per_operation", "CPU µs", 0)

# Work, kind of result, how names of cells begin, figure, how names of proxies end.
HYBRID = ", X25519MLKEM768"
FIGURES = [
    ("bulk, spliced", "newest-splice", "bulk", PER_GIB, ""),
    ("bulk, TLS to TLS", "newest-tls-both", "bulk", PER_GIB, ""),
    ("followed logs, TLS to TLS", "newest-tls-both", "log lines", PER_LINE, ""),
    ("64 B round trips, TLS to TLS", "newest-tls-both", "64 B round trips, 16", PER_TRIP, ""),
    ("post-quantum handshakes", "newest-handshakes", "full handshakes", PER_HANDSHAKE, HYBRID),
]

OWN, HAPROXY, NGINX = "eyesplice", "haproxy, newest", "nginx, newest"

# What is shown of a version: that of the program.
VERSION = re.compile(r"\d+\.\d+")


class Missing(Exception):
    """A result, cell or proxy that a figure needs is not there, or what is there failed."""


def newest(results, kind):
    """Returns the newest result of a kind, with its name."""
    found = Path(results).glob(f"*-{kind}.json")
    names = sorted(path.stem for path in found if path.stem[len(DATE) :] == kind)
    if not names:
        raise Missing(f"no result {kind} in {results}")
    return names[-1], json.loads((Path(results) / f"{names[-1]}.json").read_text())


def rounds(cell, proxy):
    """Returns the rounds of a proxy in a cell."""
    for entry in cell["proxies"]:
        if entry["proxy"] == proxy and entry["rounds"] and not entry["failures"]:
            return entry["rounds"]
    raise Missing(f"{proxy} has no valid rounds in {cell['name']}")


def ratio(cell, one, other, figure):
    """The median of the rounds' ratios."""
    pairs = zip(rounds(cell, one), rounds(cell, other))
    return statistics.median(mine[figure] / its[figure] for mine, its in pairs)


def version(versions, proxy):
    """The version of a proxy's program, as a result has it."""
    found = VERSION.search(versions.get(proxy, ""))
    if not found:
        raise Missing(f"no version of {proxy}")
    return found.group()


class Row:
    """One figure."""

    def __init__(self, results, work, kind, cells, shown, end):
        figure, unit, digits = shown
        names = [name + end for name in (OWN, HAPROXY, NGINX)]
        self.work = work
        self.stem, report = newest(results, kind)
        self.machine = report["machine"]
        self.versions = report["versions"]
        cells = [cell for cell in report["cells"] if cell["name"].startswith(cells)]
        if not cells:
            raise Missing(f"{self.stem} has no cell {cells}")
        own = [statistics.median(each[figure] for each in rounds(cell, names[0])) for cell in cells]
        lowest, highest = (f"{value:.{digits}f}" for value in (min(own), max(own)))
        self.own = f"{lowest} {unit}" if lowest == highest else f"{lowest} to {highest} {unit}"
        self.ratios = [ratio(cell, names[0], names[1], figure) for cell in cells]
        self.nginx = [ratio(cell, names[2], names[1], figure) for cell in cells]

    def line(self):
        """The row of the table."""
        return f"| {self.work} | {self.own} | {spread(self.ratios)} | {spread(self.nginx)} |"


def spread(ratios):
    """The median, and the worst where there are several."""
    median = f"{statistics.median(ratios):.2f}"
    return median if len(ratios) == 1 else f"{median} ({max(ratios):.2f})"


def rows(results):
    """All figures, in their order."""
    return [Row(results, *figure) for figure in FIGURES]


def section(figures):
    """What stands between the marks."""
    machine = figures[0].machine
    kernel = VERSION.match(machine["kernel"]).group()
    haproxy, nginx = (version(figures[0].versions, name) for name in (HAPROXY, NGINX))
    lines = [
        "| Work | eyesplice | relative to haproxy | nginx, relative to haproxy |",
        "|---|--:|--:|--:|",
        *[row.line() for row in figures],
        "",
        f"CPU time relative to haproxy {haproxy} (1.0 = equal, less is better); in parentheses the",
        f"worst cell. nginx is {nginx}. {machine['cores']} cores of {machine['cpu']},",
        f"Linux {kernel}; repeat it with `scripts/bench peers --newest`.",
    ]
    return "\n".join(lines) + "\n"


# Measures of the plot, in pixels.
WIDTH, LABELS, UNIT, BAR, GAP, TOP = 900, 210, 280, 14, 16, 44
TITLE = "CPU time relative to the newest haproxy (1.0 = equal, less is better)"
GREEN, GREY, BLUE = "#2e7d32", "#9e9e9e", "#1565c0"


def plot(figures):
    """The same as a picture: three bars for each work."""
    height = TOP + len(figures) * (3 * BAR + GAP) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="14">{TITLE}</text>',
    ]
    y = TOP
    for row in figures:
        middle = y + 2 * BAR - 3
        parts.append(f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{row.work}</text>')
        bars = [(OWN, row.ratios, GREEN), ("haproxy", [1.0], GREY), ("nginx", row.nginx, BLUE)]
        for name, ratios, colour in bars:
            value = statistics.median(ratios)
            long, thick = round(value * UNIT), BAR - 2
            size = f'width="{long}" height="{thick}"'
            place = f'x="{LABELS + long + 6}" y="{y + thick - 2}"'
            parts.append(f'<rect x="{LABELS}" y="{y}" {size} fill="{colour}"/>')
            parts.append(f"<text {place}>{value:.2f} {name}</text>")
            y += BAR
        y += GAP
    equal = LABELS + UNIT
    ends = f'x1="{equal}" y1="{TOP - 6}" x2="{equal}" y2="{height - 12}"'
    parts.append(f'<line {ends} stroke="#000000" stroke-dasharray="3 3"/>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def replaced(text, new):
    """Returns the text with what is between the marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Missing(f"there are no lines {BEGIN.strip()} and {END}")
    return before + begin + new + end + after


def main():
    """Writes or checks both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    text = "write nothing; fail if a file is not what the results say"
    parser.add_argument("--check", action="store_true", help=text)
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    check, figures = options.check, rows(options.results)
    readme = ROOT / "README.md"
    files = {
        readme: replaced(readme.read_text(), section(figures)),
        ROOT / "docs/performance.svg": plot(figures),
    }
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            name = path.relative_to(ROOT)
            print(f"{name} is not what bench/results says; run scripts/bench readme")
        else:
            path.write_text(files[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
