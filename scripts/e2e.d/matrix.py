"""The table kubectl version x verb x protocol x mode x transport, as markdown.

Its text depends on what passed and by which protocol alone, so that a run that shows the same
writes the same.
"""

import re
import threading

import verbs

BEGIN = "<!-- kubectl-matrix:begin -->"
END = "<!-- kubectl-matrix:end -->"

COMBINATIONS = [(transport, mode) for transport in ("uds", "tcp") for mode in ("splice", "terminate")]

# How a protocol is called in a cell.
SHORT = {"SPDY/3.1": "SPDY", "websocket": "WS", "HTTP/1.1": "HTTP"}


class Cell:
    """What is known of one kubectl's verb over one gateway."""

    def __init__(self):
        self.checks = []
        self.protocols = set()
        self.refused = set()

    def passed(self):
        """Returns whether every check of it held."""
        return bool(self.checks) and all(self.checks)


class Matrix:
    """Cells by (version, asked), column and combination; several threads may add."""

    def __init__(self, combinations=tuple(COMBINATIONS), intro=None):
        self._combinations = combinations
        self._intro = intro or DOCUMENT
        self._cells = {}
        self._lock = threading.Lock()

    def add(self, row, column, combination, passed, lane):
        """Adds the outcome of one check."""
        with self._lock:
            cell = self._cells.setdefault((row, column, combination), Cell())
            cell.checks.append(passed)
            cell.protocols |= lane.protocols
            cell.refused |= lane.refused

    def _rows(self):
        rows = {row for row, _, _ in self._cells}
        return sorted(rows, key=lambda row: (not row[0].startswith("v"), _version_key(row[0]), row[1]))

    def versions(self):
        """Returns the versions of kubectl in it."""
        return {row[0] for row in self._rows()}

    def _cell(self, row, column, combination):
        return self._cells.get((row, column, combination))

    def _protocol(self, row, column):
        """Which protocols carried a verb, as the gateway saw them in terminate mode."""
        cells = [self._cell(row, column, combination) for combination in self._combinations]
        seen = set().union(*(cell.protocols for cell in cells if cell))
        return "+".join(sorted(SHORT.get(name, name) for name in seen))

    def compact(self):
        """The README's table: releases of which the same holds share a row."""
        rows = {}
        for version in sorted(self.versions(), key=lambda each: (each[0] != "v", _version_key(each))):
            held = tuple(self._asked(version, asked) for asked in self._asked_by(version))
            rows.setdefault(held, []).append(version.removeprefix("v"))
        lines = _head(["kubectl", "asks for SPDY", "asks for WebSocket"])
        lines += [_line([_ranges(names), *held]) for held, names in rows.items()]
        return "\n".join(lines)

    @staticmethod
    def _asked_by(version):
        """What the columns of the compact table are of a version."""
        return ("SPDY", "WebSocket") if version.startswith("v") else ("SPDY", "v4.channel.k8s.io")

    def _asked(self, version, asked):
        """How many of a version's columns passed, and what carried them."""
        row = (version, asked)
        known = [each for each in verbs.columns() if any(self._cell(row, each, way) for way in self._combinations)]
        if not known:
            return ""
        passed = [each for each in known if self._summary_cell(row, each).startswith("ok")]
        carried = {name for each in known for name in self._protocol(row, each).split("+")} - {"", "HTTP"}
        return f"{len(passed)} of {len(known)} verbs, carried by {' and '.join(sorted(carried))}"

    def summary(self):
        """One table: a cell holds where all combinations passed, else it names those that did not."""
        lines = _head(["kubectl", "asks for", *verbs.columns()])
        for row in self._rows():
            cells = [self._summary_cell(row, column) for column in verbs.columns()]
            lines.append(_line([*row, *cells]))
        return "\n".join(lines)

    def _summary_cell(self, row, column):
        known = [(each, self._cell(row, column, each)) for each in self._combinations]
        if not any(cell for _, cell in known):
            return ""
        bad = [f"{'/'.join(each)}" for each, cell in known if not (cell and cell.passed())]
        if bad:
            return "**failed**: " + ", ".join(bad)
        return f"ok {self._protocol(row, column)}".strip()

    def details(self):
        """A table for each combination."""
        parts = []
        for combination in self._combinations:
            transport, mode = combination
            parts.append(f"## {TRANSPORTS[transport]}, {mode} mode\n")
            lines = _head(["kubectl", "asks for", *verbs.columns()])
            for row in self._rows():
                cells = [self._detail(self._cell(row, column, combination)) for column in verbs.columns()]
                lines.append(_line([*row, *cells]))
            parts.append("\n".join(lines) + "\n")
        return "\n".join(parts)

    @staticmethod
    def _detail(cell):
        if not cell:
            return ""
        words = ["ok" if cell.passed() else "**failed**"]
        words += sorted(SHORT.get(name, name) for name in cell.protocols)
        refused = sorted((SHORT.get(name, name), status) for name, status in cell.refused)
        words += [f"(after {name} {status})" for name, status in refused]
        return " ".join(words)

    def document(self):
        """The whole of docs/kubectl-matrix.md, or of the tunnel's."""
        return f"{self._intro}\n## All of it\n\n{self.summary()}\n\n{self.details()}"

    def into_readme(self, text):
        """Returns the README with the section between the marks replaced."""
        section = f"{BEGIN}\n{self.compact()}\n\n{FOOTNOTE}\n{END}"
        return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: section, text, flags=re.DOTALL)


# What the matrix of a node behind a NAT says of itself.
TUNNEL = """\
# kubectl through eyesplice and a tunnel

Written by `scripts/e2e --tunnel`: the verbs of [the other matrix](kubectl-matrix.md), which says
what they are and what a cell means, on a node that nothing can dial. A router lets its connections
out under another address, and none in; an agent on it dials out to the gateway, over whose UNIX
socket the API server asks for it.
"""

# What the matrix of a front says of itself.
FRONT_INTRO = """\
# kubectl through a front

Written by `scripts/e2e --front`: the verbs of [the other matrix](kubectl-matrix.md), which says
what they are and what a cell means, with a kubeconfig that points at the gateway. In *through* mode
all goes on to the API server; in *short* mode exec, attach, port-forward and logs go straight to
the kubelet, which the audit log says of each of them.
"""

TRANSPORTS = {"uds": "UNIX socket", "tcp": "TCP with mTLS", "front": "Front"}

FOOTNOTE = (
    "A verb counts if it passed over a UNIX socket and over TCP, in splice and in terminate mode, "
    "with Kubernetes 1.20 ([all verbs](docs/kubectl-matrix.md)). That API\n"
    "server does not translate newer WebSocket protocols, so kubectl falls back to SPDY; 1.36 "
    "passes WebSocket through from end to end."
)

DOCUMENT = """\
# kubectl through eyesplice

Written by `scripts/e2e`, which runs every verb of every kubectl of the machine against a real
kube-apiserver, kubelet and containerd (`scripts/cluster`: Kubernetes 1.20.2), over both transports
and in both modes. A cell says `ok` only if every check of that verb passed in that run.

- **asks for**: which protocol kubectl was set to try, by `KUBECTL_REMOTE_COMMAND_WEBSOCKETS` and
  `KUBECTL_PORT_FORWARD_WEBSOCKETS`. Releases before 1.29 know SPDY alone, 1.29 knows WebSocket for
  exec, attach and cp, later ones for port-forward too.
- **ok SPDY**, **ok WS**, **ok HTTP**: what carried the stream, from the gateway's audit log in terminate
  mode. In splice mode the gateway does not see it.
- **(after WS 403)**: kubectl asked for WebSocket with a protocol (`v5.channel.k8s.io`, or a SPDY tunnel
  for port-forward) that the container runtime of this cluster does not know. API servers that
  translate it came with 1.29 and 1.30. The gateway passes the refusal on unchanged, and kubectl falls
  back to SPDY by itself.
- **(own client)**: a client of the older WebSocket protocols, which travel from end to end as
  a GET with an upgrade.

What a verb's checks are: **exec** exit codes 0, 3 and 127, standard error apart from standard output,
an end of standard input that ends the command, binary input and output by checksum (100 MiB each way
with one release per transport and mode, 8 MiB with the others); **exec -it** a terminal, its size and
a change of it; **attach** with standard input; **cp** a tree with a big file, there and back;
**port-forward** 25 connections at once through one session, each with a half-close, and 20 MB by
checksum; **logs** the tail, and 100,000 lines by checksum; **logs -f** lines that arrive while it
follows, and an end on the kubelet's side when kubectl is killed; **nodes/proxy**, **pods/proxy** and
**services/proxy** by `kubectl get --raw`.
"""


def _head(titles):
    return [_line(titles), _line(["---"] * len(titles))]


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def _ranges(versions):
    """Returns versions in ascending order as text: the first and last one of successive minor releases."""
    runs = []
    for version in versions:
        minor = _version_key(version)[0][:2]
        if runs and minor == [runs[-1][-1][0][0], runs[-1][-1][0][1] + 1]:
            runs[-1].append((minor, version))
        else:
            runs.append([(minor or [0, 0], version)])
    return ", ".join(" to ".join(dict.fromkeys((run[0][1], run[-1][1]))) for run in runs)


def _version_key(version):
    return [int(number) for number in re.findall(r"\d+", version)], version
