"""What each kubectl does on the cluster: one function per verb, each a check of its own."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lane import FORWARD_WEBSOCKET_SINCE, KUBECTL_S, SECRET, release
from wait import Failed, expect, same, short, until

# What the pods serve.
PAGE = b"hello from the data directory\n"

# Connections through one port-forward session at the same time, and bytes through each.
CONNECTIONS = 25
CONNECTION_BYTES = 48 << 10

# Bytes through one forwarded connection.
FORWARD_BYTES = 20_000_000

# On busy processors a kubectl now and then ends well before it has printed all: 1.37 did in 3 of 36
# runs of 100 MiB without any gateway, at a load of 30.
TRIES = 5

# Lines of a log that are asked for.
TAIL = 2


@dataclass
class Verb:
    """A check, and the column of the matrix that it belongs to."""

    column: str
    body: object
    # "exec" or "forward": what a kubectl can be told to use WebSocket for.
    stream: str

    def runs(self, lane):
        """Returns whether it is of use with what the lane asks for."""
        if lane.asked != "WebSocket":
            return True
        if self.stream == "forward":
            return release(lane.version) >= FORWARD_WEBSOCKET_SINCE
        return self.stream == "exec"


VERBS = []


def verb(column, stream=""):
    """Adds a function to the verbs."""

    def add(body):
        VERBS.append(Verb(column, body, stream))
        return body

    return add


def columns():
    """Returns the columns of the matrix, in order."""
    return list(dict.fromkeys(each.column for each in VERBS))


def shell(script):
    """A command whose words must never be told."""
    return ["sh", "-c", f": {SECRET}; {script}"]


@verb("exec", "exec")
def exec_exit_codes(lane):
    """Exit codes come back, standard output and standard error stay apart."""

    def body():
        command = shell("echo out; echo err >&2; exit 3")
        ended = lane.run("exec", lane.pod, "-c", "c", "--", *command, check=False)
        same(ended.code, 3, f"exit code ({ended.err})")
        same(ended.text, "out\n", "standard output")
        same(ended.err.splitlines()[0], "err", "standard error")
        ended = lane.run("exec", lane.pod, "-c", "c", "--", *shell("no-such-command"), check=False)
        same(ended.code, 127, f"exit code ({ended.err})")

    lane.audited("exec", body, 2)


@verb("exec", "exec")
def exec_stdin_ends(lane):
    """`echo x | kubectl exec -i` ends."""

    def body():
        ended = lane.run("exec", "-i", lane.pod, "-c", "c", "--", *shell("cat; echo end"), stdin=b"x\n")
        same(ended.text, "x\nend\n", "standard output")

    lane.audited("exec", body)


@verb("exec", "exec")
def exec_binary(lane):
    """Binary standard input and output, checked by a checksum on each side."""
    blob, size, wanted = lane.data

    def once():
        seen = hashlib.sha256()
        counted = 0

        def take(chunk):
            nonlocal counted
            seen.update(chunk)
            counted += len(chunk)

        cat = ["exec", "-i", lane.pod, "-c", "c", "--", *shell("cat")]
        with open(blob, "rb") as stdin:
            lane.stream(*cat, stdin=stdin, take=take)
        return counted, seen.hexdigest()

    def body():
        for _ in range(TRIES):
            mark = lane.cluster.gateway.audit.mark()
            counted, checksum = once()
            if counted == size or not lane.left_early(mark, size):
                break
            print(f"{lane.pod}: kubectl ended well, and printed {counted} of {size} bytes")
        same(counted, size, "bytes")
        same(checksum, wanted, "checksum")

    lane.audited("exec", body, more=True)
    if lane.cluster.terminates:
        line = lane.cluster.gateway.audit.since(0, kind="end", action="exec", pod=lane.pod, status=101)[-1]
        expect(min(line["bytesUp"], line["bytesDown"]) >= size, f"fewer than {size} bytes: {line}")


@verb("exec -it", "exec")
def exec_terminal(lane):
    """A terminal has the size of ours, follows its changes, and gives the exit code back."""

    def body():
        master, slave = pty.openpty()
        try:
            set_size(master, 31, 97)
            arguments = ["exec", "-it", lane.pod, "-c", "c", "--", *shell("exec sh")]
            with lane.start(*arguments, stdin=slave, stdout=slave, stderr=slave) as kubectl:
                terminal = Terminal(master)
                terminal.ask("stty size", r"\b31 97\b")
                set_size(master, 43, 121)
                kubectl.send(signal.SIGWINCH)
                terminal.ask("stty size", r"\b43 121\b")
                terminal.write("exit 5\n")
                # Nobody would read what it still prints, and it would wait for that.
                until(lambda: terminal.read() is not None and not kubectl.running(), KUBECTL_S, "its end")
                same(kubectl.wait(1), 5, f"exit code ({short(terminal.seen)})")
        finally:
            os.close(master)
            os.close(slave)

    lane.audited("exec", body)


def set_size(terminal, rows, columns_):
    """Sets the size of a terminal."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns_, 0, 0))


class Terminal:
    """Our end of a pseudo terminal."""

    def __init__(self, master):
        self.master = master
        self.seen = ""

    def write(self, text):
        """Types a text."""
        os.write(self.master, text.encode())

    def read(self):
        """Reads what has been printed by now."""
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        return self.seen

    def ask(self, command, answer):
        """Types a command until its answer comes: a new size takes a moment to arrive."""
        self.seen = ""
        typed = 0.0

        def answered():
            nonlocal typed
            if time.monotonic() - typed > 0.5:
                self.write(command + "\n")
                typed = time.monotonic()
            return re.search(answer, self.read())

        until(answered, KUBECTL_S, lambda: f"{command} says {answer}; the terminal shows {short(self.seen)}")


@verb("attach", "exec")
def attach(lane):
    """What is typed into a running container comes back."""

    def body():
        with lane.start("attach", "-i", lane.pod, "-c", "c", stdin=subprocess.PIPE) as kubectl:
            lines = Lines(kubectl)
            typed = f"typed by {lane.pod} over {lane.asked}"
            kubectl.stdin.write(f"{typed}\n".encode())
            lines.until(lambda line: line == typed, f"{typed!r} comes back")
            kubectl.end(signal.SIGINT)

    lane.audited("attach", body)


class Lines:
    """The lines that a program prints, read as they come."""

    def __init__(self, process):
        self.process = process
        self.seen = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        rest = b""
        try:
            while chunk := self.process.stdout.read(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                self.seen += [line.decode(errors="replace") for line in lines]
        except (ValueError, OSError):
            pass  # It was ended while we read.

    def until(self, wanted, what):
        """Waits for a line."""
        process = self.process

        def found():
            match = [line for line in list(self.seen) if wanted(line)]
            if not match and not process.running() and not self._thread.is_alive():
                raise Failed(f"{process.told()} ended before {what}: {self.seen[-5:]} {process.err()}")
            return match

        return until(found, KUBECTL_S, lambda: f"{what}: {self.seen[-5:]} {process.err()}")[0]


@verb("cp", "exec")
def copy(lane):
    """A tree with a big file goes in and comes back as it was."""
    work = lane.cluster.home / f"cp-{lane.pod}-{lane.tag}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "tree" / "sub" / "deep").mkdir(parents=True)
    shutil.copyfile(lane.cluster.state / "blob.big", work / "tree" / "big")
    (work / "tree" / "empty").touch()
    (work / "tree" / "sub" / "deep" / "text").write_text("a line\n" * 1000)
    remote = f"/tmp/tree-{lane.tag}"

    def body():
        lane.run("cp", str(work / "tree"), f"{lane.pod}:{remote}", "-c", "c")
        lane.run("cp", f"{lane.pod}:{remote}", str(work / "back"), "-c", "c")
        same(tree(work / "back"), tree(work / "tree"), "the tree that came back")

    try:
        # Each direction is an exec; a release may look at the target first, which is one more.
        lane.audited("exec", body, 2, more=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def tree(root):
    """Returns each file below a directory with its checksum; no kubectl brings modes back."""
    files = (path for path in sorted(Path(root).rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@verb("port-forward", "forward")
def port_forward(lane):
    """Many connections through one session, half-closes, and a large transfer."""

    def body():
        arguments = ["port-forward", "--address", "127.0.0.1", f"pod/{lane.pod}", ":8080", ":7000"]
        with lane.start(*arguments) as kubectl:
            lines = Lines(kubectl)
            http = forwarded(lines, 8080)
            echo = forwarded(lines, 7000)
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/index.html", timeout=KUBECTL_S) as reply:
                same(reply.read(), PAGE, "page")
            # One after the other, because busybox's server lets two wait; then all at the same time.
            opened = [Connection(echo, number) for number in range(CONNECTIONS)]
            at_once(opened, lambda connection: connection.echo(CONNECTION_BYTES))
            Connection(echo, 0).echo(FORWARD_BYTES)
            kubectl.end(signal.SIGINT)

    lane.audited("portForward", body, container=None)


def forwarded(lines, port):
    """Returns the local port that leads to a port of the pod."""
    pattern = re.compile(rf"Forwarding from 127\.0\.0\.1:(\d+) -> {port}$")
    return int(pattern.match(lines.until(pattern.match, f"port {port} is forwarded"))[1])


def at_once(connections, body):
    """Runs a body with each connection at the same time; fails if one of them fails."""
    failures = []

    def guarded(number, connection):
        try:
            body(connection)
        except (Failed, OSError) as error:
            failures.append(f"{number}: {error}")

    threads = [threading.Thread(target=guarded, args=each) for each in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, f"{len(failures)} of {len(threads)} failed: {failures[:3]}")


class Connection:
    """A connection to an echo server, which has answered once."""

    def __init__(self, port, number):
        self._seed = f"{port} {number}".encode()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=KUBECTL_S)
        self._socket.sendall(b".")
        same(self._socket.recv(1), b".", "first byte that came back")

    def echo(self, size):
        """Sends, ends our direction, and reads back all of it until the other end closes."""
        block = hashlib.sha256(self._seed).digest() * 2048
        sent = (block * (size // len(block) + 1))[:size]
        with self._socket:
            writer = threading.Thread(target=self._write, args=(sent,))
            writer.start()
            back = bytearray()
            try:
                while chunk := self._socket.recv(1 << 18):
                    back += chunk
            finally:
                writer.join()
        same(len(back), size, "bytes that came back")
        expect(back == sent, "other bytes came back than were sent")

    def _write(self, sent):
        # The reader sees what is missing.
        with contextlib.suppress(OSError):
            self._socket.sendall(sent)
            self._socket.shutdown(socket.SHUT_WR)


@verb("logs")
def logs(lane):
    """The tail of a log, and nothing else that was there when it was asked for."""

    def body():
        asked = datetime.now(timezone.utc)
        with lane.pooled():
            ended = lane.run("logs", lane.pod, "-c", "c", f"--tail={TAIL}", "--timestamps")
        lines = ended.text.splitlines()
        expect(len(lines) >= TAIL, f"lines: {lines}")
        # The kubelet looks for the tail first, and then reads on to the end, which may have moved.
        beyond = [written(line) for line in lines][TAIL:]
        expect(all(when >= asked for when in beyond), f"lines beyond {TAIL}, from before {asked}: {lines}")

    lane.audited("logs", body)


def written(line):
    """Returns when a line with a timestamp, which has nine digits of a second, was written."""
    stamp = re.match(r"(\S{19}\.\d{6})\d{3}(\S+) ", line)
    expect(stamp, f"no timestamp: {line}")
    return datetime.fromisoformat(stamp[1] + stamp[2].replace("Z", "+00:00"))


@verb("logs")
def long_log(lane):
    """100,000 lines, by checksum."""
    seen = hashlib.sha256()
    with lane.pooled():
        lane.stream("logs", "bb", "-c", "lines", stdin=subprocess.DEVNULL, take=seen.update)
    same(seen.hexdigest(), lane.cluster.log_checksum, "checksum of the log")


@verb("logs -f")
def follow_log(lane):
    """New lines arrive while a log is followed; when kubectl is killed the kubelet's side ends."""

    def body():
        with lane.pooled(), lane.start("logs", "-f", "--tail=1", lane.pod, "-c", "c") as kubectl:
            lines = Lines(kubectl)
            first = lines.until(lambda line: re.fullmatch(r"tick \d+", line), "a tick")
            wanted = f"tick {int(first.split()[1]) + 2}"
            lines.until(lambda line: line == wanted, f"{wanted!r} after {first!r}")
            kubectl.end(signal.SIGKILL)

    lane.audited("logs", body, reasons=("cancelled",))


@verb("nodes/proxy")
def node_proxy(lane):
    """The kubelet's own API, by the API server's proxy."""
    node = "/api/v1/nodes/node1/proxy"
    with lane.pooled():
        same(lane.run("get", "--raw", f"{node}/healthz").out, b"ok", "healthz")
    with lane.pooled():
        pods = json.loads(lane.run("get", "--raw", f"{node}/pods").text)
    names = [pod["metadata"]["name"] for pod in pods["items"]]
    expect(lane.pod in names, f"{lane.pod} is not in {names}")


@verb("pods/proxy")
def pod_proxy(lane):
    """A pod's HTTP port, by the API server's proxy."""
    path = f"/api/v1/namespaces/default/pods/{lane.pod}:8080/proxy/index.html"
    same(lane.run("get", "--raw", path).out, PAGE, "page")


@verb("services/proxy")
def service_proxy(lane):
    """A service's HTTP port, by the API server's proxy."""
    path = "/api/v1/namespaces/default/services/bb:http/proxy/index.html"
    same(lane.run("get", "--raw", path).out, PAGE, "page")
