"""Writes the table of `scripts/bench peers --newest` from the newest results of its scenarios.

Each row is a work; each figure is the CPU time of eyesplice by that of another proxy in the same
round, the median over the rounds. Targets follow; where a bare loop with the same provider shows
that one is out of reach, the loop is the floor.

    python3 -B scripts/bench.d/newest.py [--results DIR]
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# How names of results begin.
DATE = "2026-01-01-"

SCENARIOS = ["newest-splice", "newest-tls-one", "newest-tls-both", "newest-handshakes"]

# A figure of a cell, by the name that the harness has for it.
FIGURES = {
    "cpu_per_gib": ("cpu_per_gib", "CPU s/GiB", 2),
    "cpu_per_operation": ("cpu_us_per_operation", "CPU µs", 1),
}

# What a processor has on which OpenSSL and aws-lc seal with AVX-512.
VECTORS = {"avx512f", "vaes", "vpclmulqdq"}

# So near to a floor is at it: what rounds are apart by.
AT_FLOOR = 1.05

COLUMNS = ["haproxy, Debian 12", "haproxy, newest", "nginx, Debian 12", "nginx, newest"]
MASKED = ["haproxy, newest, no AVX-512", "nginx, newest, no AVX-512"]


class Missing(Exception):
    """A result that the table needs is not there."""


class Target:
    """What eyesplice is to reach against one other proxy in some cells."""

    def __init__(self, work, scenario, cells, limits, own="eyesplice", floor=None):
        self.work = work
        self.scenario = scenario
        # How the names of its cells begin.
        self.cells = cells
        # By the name of the other proxy.
        self.limits = limits
        self.own = own
        # A bare loop that shows what can be reached.
        self.floor = floor


def newest_both(limit):
    """The same limit against the newest haproxy and the newest nginx."""
    return {"haproxy, newest": limit, "nginx, newest": limit}


def of_debian(limit):
    """The same limit against those of Debian 12."""
    return {"haproxy, Debian 12": limit, "nginx, Debian 12": limit}


LOOPS = {True: "bare record loop, aws-lc", False: "bare record loop, ring"}
TOKIO = {True: "tokio-rustls, 64 KiB, aws-lc", False: "tokio-rustls, 64 KiB, ring"}


def targets(vectors):
    """The targets of a processor with AVX-512, or of one without."""
    loop = LOOPS[vectors]
    both, one = "newest-tls-both", "newest-tls-one"
    if vectors:
        bulk = [
            Target("TLS to TLS, bulk", both, "bulk, 1 ", newest_both(0.5), floor=loop),
            Target("TLS to TLS, bulk, 16 connections", both, "bulk, 16 ", newest_both(0.55),
                   floor=loop),
            Target("one TLS leg, bulk", one, "bulk", newest_both(0.55), floor=loop),
        ]
    else:
        bulk = []
    masked = [
        Target("TLS to TLS, bulk, without AVX-512", both, "bulk", of_debian(0.5),
               own="eyesplice, ring", floor=LOOPS[False]),
        Target("one TLS leg, bulk, without AVX-512", one, "bulk", of_debian(0.5),
               own="eyesplice, ring", floor=LOOPS[False]),
    ]
    streams = [
        Target(f"64 B round trips, {count} streams, {name}", scenario,
               f"64 B round trips, {count} streams", {loop: limit})
        for scenario, name, loop in [
            ("newest-splice", "spliced", "bare copy loop"),
            (both, "TLS to TLS", loop),
        ]
        for count, limit in [(16, 1.05), (128, 1.05), (1024, 1.05), (8192, 1.25)]
    ]
    hybrid = {"nginx, newest, X25519MLKEM768": 0.6}
    shakes = "newest-handshakes"
    return [
        *bulk,
        *masked,
        Target("TLS to TLS, bulk", both, "bulk", {TOKIO[vectors]: 0.7}),
        Target("full handshakes, X25519", shakes, "full", {"nginx, newest, X25519": 0.6},
               own="eyesplice, X25519"),
        Target("full handshakes, X25519MLKEM768", shakes, "full", hybrid,
               own="eyesplice, X25519MLKEM768"),
        Target("new connections, spliced", "newest-splice", "new connections",
               {"haproxy, newest": 0.95, "nginx, newest": 1.05}),
        *streams,
        # No row worse than when the issue was written.
        Target("spliced bulk, down", "newest-splice", "bulk, 1 connection, down",
               {"haproxy, newest": 0.39, "nginx, newest": 0.23}),
        Target("spliced bulk, up", "newest-splice", "bulk, 1 connection, up",
               {"haproxy, newest": 0.94, "nginx, newest": 0.55}),
        Target("spliced bulk, 16 connections", "newest-splice", "bulk, 16 ",
               {"haproxy, newest": 0.59, "nginx, newest": 0.27}),
    ]


class Result:
    """The newest result of a scenario."""

    def __init__(self, results, kind):
        found = Path(results).glob(f"*-{kind}.json")
        names = sorted(path.stem for path in found if path.stem[len(DATE) :] == kind)
        if not names:
            raise Missing(f"no result {kind} in {results}; run scripts/bench peers --newest")
        self.stem = names[-1]
        report = json.loads((Path(results) / f"{self.stem}.json").read_text())
        self.title = report["title"]
        self.machine = report["machine"]
        self.quiet = report["quiet"]
        self.count = report["rounds"]
        self.seconds = report["seconds"]
        self.versions = report.get("versions", {})
        self.cells = report["cells"]

    @property
    def vectors(self):
        """Whether this processor has what seals with AVX-512."""
        return VECTORS <= set(self.machine.get("features", []))


def rounds(cell, proxy):
    """Returns the rounds of a proxy in a cell; none if it was not there or failed."""
    for entry in cell["proxies"]:
        if entry["proxy"] == proxy and not entry["failures"]:
            return entry["rounds"]
    return []


def figure(cell):
    """The figure by which a cell compares: its key, unit and digits."""
    return FIGURES.get(cell["figure"], FIGURES["cpu_per_operation"])


def ratio(cell, one, other):
    """The median of the rounds' ratios; none if either was not there."""
    key = figure(cell)[0]
    pairs = zip(rounds(cell, one), rounds(cell, other))
    ratios = [mine[key] / its[key] for mine, its in pairs if mine[key] and its[key]]
    return statistics.median(ratios) if ratios else None


def own(cell, proxy):
    """A proxy's own figure in words; none if it was not there."""
    key, unit, digits = figure(cell)
    values = [each[key] for each in rounds(cell, proxy) if each[key]]
    return f"{statistics.median(values):.{digits}f} {unit}" if values else None


def shown(value):
    """A ratio with two digits, or that it is missing."""
    return "missing" if value is None else f"{value:.2f}"


def comparison(result, columns, proxy):
    """A table: each cell, the proxy's figure, and its ratio to those of the columns."""
    there = {entry["proxy"] for cell in result.cells for entry in cell["proxies"]}
    columns = [each for each in columns if each in there]
    lines = [
        f"| Work | {proxy} | {' | '.join(columns)} |",
        "|---|--:|" + "--:|" * len(columns),
    ]
    for cell in result.cells:
        ratios = [shown(ratio(cell, proxy, other)) for other in columns]
        lines.append(f"| {cell['name']} | {own(cell, proxy) or 'missing'} | {' | '.join(ratios)} |")
    return lines


def columns_of(result, proxy):
    """Whom a proxy of a scenario is compared with."""
    if result.stem.endswith("-newest-handshakes"):
        group = proxy.rsplit(", ", 1)[1]
        names = [*COLUMNS, "tokio-rustls, aws-lc"]
        return [f"{name}, {group}" for name in names]
    loops = ["bare splice loop", "bare copy loop"]
    ring = proxy.endswith(", ring") or not result.vectors
    crypto = "ring" if ring else "aws-lc"
    same = [f"tokio-rustls, 64 KiB, {crypto}", f"bare record loop, {crypto}"]
    kinds = ["Debian 12", "newest"]
    hitches = [f"{name}, {kind}" for name in ("hitch", "stunnel") for kind in kinds]
    if proxy.endswith(", ring"):
        debian = [name for name in COLUMNS if name.endswith("Debian 12")]
        return [*debian, *MASKED, *same]
    return [*COLUMNS, *hitches, *same, *loops]


def subjects(result):
    """The proxies of a scenario that are eyesplice, in their order."""
    entries = result.cells[0]["proxies"]
    return [each["proxy"] for each in entries if each["proxy"].startswith("eyesplice")]


def verdict(value, limit, floor):
    """What became of a target."""
    if value is None:
        return "missing"
    if round(value, 2) <= limit:
        return "met"
    if floor is not None and floor <= AT_FLOOR:
        return "at the floor"
    return "**missed**"


def target_lines(target, result):
    """The rows of one target: one for each cell and other proxy."""
    cells = [cell for cell in result.cells if cell["name"].startswith(target.cells)]
    for cell in cells:
        floor = ratio(cell, target.own, target.floor) if target.floor else None
        for other, limit in target.limits.items():
            value = ratio(cell, target.own, other)
            by_loop = "" if floor is None else f"{floor:.2f}"
            yield (
                f"| {target.work} | {cell['name']} | {other} | {limit:.2f} | {shown(value)} "
                f"| {by_loop} | {verdict(value, limit, floor)} |"
            )


def versions(results):
    """A table of who was there; the two OpenSSL columns of a scenario are one program."""
    found = {}
    for result in results:
        for name, version in result.versions.items():
            for group in (", X25519MLKEM768", ", X25519"):
                name = name.removesuffix(group)
            found.setdefault(name, version)
    rows = [f"| {name} | {version} |" for name, version in sorted(found.items())]
    return ["| Proxy | Version |", "|---|---|", *rows]


def head(results):
    """Where the results are from and how to repeat them."""
    first = results[0]
    machine = first.machine
    vectors = ", ".join(machine.get("features", [])) or "unknown"
    lines = [
        "# eyesplice against the newest proxies",
        "",
        "Repeat it with `scripts/bench peers --newest`; this page alone is written again by",
        "`python3 -B scripts/bench.d/newest.py`.",
        "",
        f"- machine: {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}",
        f"- instructions for AES: {vectors}",
        f"- revision: {machine['revision']}",
    ]
    if not first.vectors:
        lines.append("- **missing: the columns with AVX-512, which this processor has not**")
    for result in results:
        lines.append(
            f"- [{result.stem}]({result.stem}.md): {result.count} rounds of {result.seconds} s, "
            f"others used {result.quiet['others_cores']:.2f} cores"
        )
    return lines


def page(results):
    """The whole page."""
    lines = [
        *head(results),
        "",
        *versions(results),
        "",
        "Figures are CPU time of eyesplice, and what that is of another proxy's in the same round",
        "(median of the rounds; less is better). *no AVX-512*: masked for OpenSSL by its variable,",
        "beside `engine.crypto: ring`.",
    ]
    for result in results:
        lines += ["", f"## {result.title}"]
        for proxy in subjects(result):
            lines += ["", *comparison(result, columns_of(result, proxy), proxy)]
    lines += [
        "",
        "## Targets",
        "",
        "*By the floor*: CPU time by that of the bare record loop with the same provider. A target",
        "above which the loop itself is, or nearly, cannot be reached: *at the floor* is up to",
        f"{AT_FLOOR:.2f} of it.",
        "",
        "| Target | Cell | Against | At most | Is | By the floor | |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    by_kind = {result.stem[len(DATE) :]: result for result in results}
    for target in targets(results[0].vectors):
        lines += target_lines(target, by_kind[target.scenario])
    return "\n".join(lines) + "\n"


def main():
    """Writes the page beside the results, with the date of the newest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    try:
        results = [Result(options.results, kind) for kind in SCENARIOS]
    except Missing as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    date = max(result.stem for result in results)[: len(DATE)]
    path = options.results / f"{date}newest.md"
    path.write_text(page(results))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
