"""Measures streams through a tunnel against the same without one: `scripts/bench tunnel`.

    tunnel.py EYESPLICE EYESPLICE_LOAD RESULTS [--rounds N] [--seconds N]

Runs in a network namespace of its own. Gateway and agent are on this host, so what is measured is
their work and the kernel's, not a network.
"""

import argparse
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# Where the far end listens: an agent dials no loopback address.
FAR = "198.18.0.1"
FAR_PORT = 7000

HEAD = "apiVersion: eyesplice.dev/v1alpha1\n"
LIMITS = "limits: {maxStreams: 20000, maxStreamsPerPeer: 20000, maxPendingDials: 20000,\n"
LIMITS += "  maxHandshakesPerSecond: 100000, maxHandshakesPerSecondPerAddress: 100000}\n"

# A work: its name, its arguments, and the figure of it.
WORKS = [
    ("bulk, 1 connection, down", ["-w", "bulk"], "cpu_per_gib"),
    ("bulk, 1 connection, up", ["-w", "bulk", "--direction", "upload"], "cpu_per_gib"),
    (
        "bulk, 16 connections, both",
        ["-w", "bulk", "--direction", "both", "-c", "16"],
        "cpu_per_gib",
    ),
    ("64 B round trips, 16 streams", ["-w", "rr", "-c", "16"], "cpu_us_per_operation"),
    ("new connections", ["-w", "setup", "-c", "4"], "cpu_us_per_operation"),
]

UNITS = {"cpu_per_gib": "CPU s/GiB", "cpu_us_per_operation": "CPU µs"}

# How long a process may take to be ready, in seconds.
START_S = 20


class Process:
    """A gateway or an agent; ends with this program."""

    def __init__(self, program, command, config, admin, log):
        self.admin = admin
        arguments = ["setpriv", "--pdeathsig", "KILL", program, command, "--config", config]
        self.popen = subprocess.Popen(arguments, stdout=log, stderr=log)

    @property
    def pid(self):
        """The process id."""
        return self.popen.pid

    def await_ready(self):
        """Waits until it says that it is ready."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=1):
                    return
            except OSError as error:
                if self.popen.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{self.popen.args} is not ready: {error}")
                time.sleep(0.05)

    def metric(self, name):
        """A sample without labels."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5) as reply:
            for line in reply.read().decode().splitlines():
                if line.startswith(f"eyesplice_{name} "):
                    return float(line.split()[1])
        return 0.0

    def rss(self):
        """Its resident memory in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def end(self):
        """Ends it."""
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(START_S)


class Lab:
    """A gateway, and an agent if there is a tunnel."""

    def __init__(self, options, directory, pool=(0, 8), tunnel=True, action="splice"):
        self.options, self.directory = options, Path(directory)
        self.directory.mkdir()
        self.log = open(self.directory / "log", "wb")
        self.processes = []
        via = ", via: tunnel" if tunnel else ""
        rule = ""
        if action == "terminate":
            rule = "protocol: opaque, upstream: {caFile: certs/ca.crt, names: [localhost]}, "
        (self.directory / "certs").symlink_to(options.certs)
        inventory = HEAD + f"kind: NodeInventory\nnodes: [{{name: bench, addresses: [{FAR}]}}]\n"
        (self.directory / "inventory.yaml").write_text(inventory)
        self._write(
            "gateway.yaml",
            "kind: GatewayConfig\nlisteners:\n"
            "- {name: uds, unix: {path: egress.sock}}\n"
            "- {name: tcp, tcp: {address: '127.0.0.1:8131', tlsCertFile: certs/leaf.crt,\n"
            "    tlsPrivateKeyFile: certs/leaf.key, clientCAFile: certs/ca.crt}}\n"
            + (
                "- {name: tunnel, tunnel: {address: '127.0.0.1:8133',\n"
                "    tlsCertFile: certs/leaf.crt, tlsPrivateKeyFile: certs/leaf.key,\n"
                "    clientCAFile: certs/ca.crt}}\n"
                f"tunnel: {{nodeAgents: true, pool: {{min: {pool[0]}, max: {pool[1]}}}}}\n"
                if tunnel
                else ""
            )
            + "egress:\n  rules:\n"
            f"  - {{name: far, cidrs: [{FAR}/32], {rule}action: {action}{via}}}\n"
            "egressCA: {certFile: certs/ca.crt, keyFile: certs/ca.key}\n"
            "kubelet: {caFile: certs/ca.crt, clientCertFile: certs/leaf.crt,\n"
            "  clientKeyFile: certs/leaf.key, apiserverClientCAFile: certs/ca.crt,\n"
            "  inventoryFile: inventory.yaml}\n"
            f"{LIMITS}timeouts: {{sessionTicket: 0s}}\n"
            "engine: {workers: 1}\nadmin: {address: '127.0.0.1:9464'}\naudit: {path: audit.log}\n",
        )
        self.gateway = self._start("gateway", "127.0.0.1:9464")
        self.agent = None
        if tunnel:
            self._write(
                "agent.yaml",
                "kind: AgentConfig\nidentity: {certFile: certs/leaf.crt, keyFile: certs/leaf.key}\n"
                "gateways: {addresses: ['127.0.0.1:8133'], caFile: certs/ca.crt}\n"
                f"allow: {{cidrs: [{FAR}/32]}}\n{LIMITS}"
                "engine: {workers: 1, io: io_uring}\nadmin: {address: '127.0.0.1:9465'}\n"
                "audit: {path: agent-audit.log}\n",
            )
            self.agent = self._start("agent", "127.0.0.1:9465")

    def _write(self, name, text):
        (self.directory / name).write_text(HEAD + text)

    def _start(self, command, admin):
        config = self.directory / f"{command}.yaml"
        process = Process(self.options.eyesplice, command, config, admin, self.log)
        self.processes.append(process)
        process.await_ready()
        return process

    def load(self, arguments, via="unix", seconds=None):
        """Runs the generator; gives what it reports."""
        ways = {
            "unix": [f"connect-unix:{self.directory}/egress.sock"],
            "tls": ["connect-tls:127.0.0.1:8131"],
        }
        command = [self.options.load, "run", *arguments, "--json", "--no-ceiling"]
        command += ["--via", *ways[via], "--certificates", self.options.certs]
        command += ["--far-end-listen", f"{FAR}:{FAR_PORT}"]
        command += ["--duration", f"{seconds or self.options.seconds}s"]
        for process in self.processes:
            command += ["--proxy-pid", str(process.pid)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if ended.returncode != 0:
            sys.exit(f"{' '.join(command)}: {ended.stderr.decode()}; see {self.directory}/log")
        return json.loads(ended.stdout)["runs"]

    def end(self):
        """Ends all of it."""
        for process in reversed(self.processes):
            process.end()


def measure(options, work):
    """All figures, and the machine that they are of."""
    figures, memory = {}, {}
    # Name, how the lab is made, by which listener, and more arguments.
    ways = [
        ("tunnel", {}, "unix", []),
        ("tunnel, 8 connections parked", {"pool": (8, 16)}, "unix", []),
        ("tunnel, terminated", {"action": "terminate"}, "unix", ["--tls"]),
        ("no tunnel, mutual TLS", {"tunnel": False}, "tls", []),
        ("no tunnel", {"tunnel": False}, "unix", []),
    ]
    for turn in range(options.rounds):
        for number, (name, how, via, more) in enumerate(ways):
            lab = Lab(options, f"{work}/{turn}-{number}", **how)
            try:
                if turn == 0 and lab.agent and not how:
                    memory["agent, idle"] = lab.agent.rss()
                    memory["gateway with one agent, idle"] = lab.gateway.rss()
                for title, arguments, figure in WORKS:
                    run = lab.load([*arguments, *more], via)[0]["measured"]
                    cell = figures.setdefault((name, title), {"cpu": [], "rate": []})
                    cell["cpu"].append(run[figure])
                    rate = "gib_per_second" if figure == "cpu_per_gib" else "operations_per_second"
                    cell["rate"].append(run[rate])
            finally:
                lab.end()
    lab = Lab(options, f"{work}/stall")
    try:
        runs = lab.load(["-w", "stall", "-c", "999"], seconds=5)
        stall = {run["name"]: run["measured"]["p99"] for run in runs}
    finally:
        lab.end()
    return figures, memory, stall


def document(options, figures, memory, stall):
    """The results as Markdown."""
    names = list(dict.fromkeys(name for name, _ in figures))
    lines = [
        "# Streams through a tunnel",
        "",
        f"- revision: {options.revision}",
        "- command: `scripts/bench tunnel`",
        f"- machine: {os.cpu_count()} cores of {cpu()}, Linux {os.uname().release}",
        f"- loadavg after: {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
        f"- work: {options.rounds} interleaved rounds of {options.seconds} s; a worker in each",
        "  process; gateway, agent and far end on one host; medians; CPU of both together",
        "",
    ]
    for title, _, figure in WORKS:
        unit = "GiB/s" if figure == "cpu_per_gib" else "a second"
        lines += [f"## {title}", ""]
        lines += [f"| way | {UNITS[figure]} | {unit} | of mutual TLS without a tunnel |"]
        lines += ["|---|--:|--:|--:|"]
        base = statistics.median(figures["no tunnel, mutual TLS", title]["rate"])
        for name in names:
            cell = figures[name, title]
            cpu_used, rate = statistics.median(cell["cpu"]), statistics.median(cell["rate"])
            lines.append(f"| {name} | {cpu_used:.3g} | {rate:.4g} | {rate / base:.2f} |")
        lines.append("")
    lines += ["## A reader that stalls beside 999 streams of 64 B round trips, one agent", ""]
    lines += [f"- p99 of {name}: {value:.0f} µs" for name, value in stall.items()]
    alone, beside = list(stall.values())[:2]
    lines += [f"- ratio: {beside / alone:.2f}", "", "## Resident memory", ""]
    lines += [f"- {name}: {value} KiB" for name, value in memory.items()]
    return "\n".join(lines) + "\n"


def cpu():
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unknown processor"


def main():
    """Measures and writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("eyesplice")
    parser.add_argument("load")
    parser.add_argument("results")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    named = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"])
    options.revision = named.decode().strip()
    subprocess.run(["ip", "address", "add", f"{FAR}/32", "dev", "lo"], check=True)
    with tempfile.TemporaryDirectory() as work:
        options.certs = f"{work}/certs"
        subprocess.run([options.load, "certificates", options.certs], check=True)
        figures, memory, stall = measure(options, work)
    text = document(options, figures, memory, stall)
    name = Path(options.results) / f"{datetime.date.today().isoformat()}-tunnel.md"
    name.write_text(text)
    print(text)
    print(f"wrote {name}")


if __name__ == "__main__":
    main()
