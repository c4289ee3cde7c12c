"""Runs the gateway under test, and reads what it tells of itself."""

import os
import re
import signal
import urllib.request
from pathlib import Path

from audit import Audit
from processes import Process, run
from wait import Failed, expect, short, until

# How long it may take to start, and to end once nothing runs any more, in seconds.
START_S = 20
END_S = 20

# How long a reload may take: its files are looked at within a second of their change.
RELOAD_S = 20


class Gateway:
    """One gateway process of a cluster."""

    def __init__(self, program, config, admin_url, log_dir):
        self.program = program
        self.config = Path(config)
        self.admin_url = admin_url
        self.log = Path(log_dir) / "gateway.log"
        self.audit = Audit(Path(log_dir) / "audit.log")
        self.process = None
        self.first_fds = 0

    def start(self):
        """Starts it and waits until it is ready."""
        with open(self.log, "ab") as log:
            # If this run is killed, it goes with it. The level shows more than operators see, so
            # that a secret that any level would tell is found.
            self.process = Process(
                ["setpriv", "--pdeathsig", "KILL", self.program, "gateway", "--config", self.config]
                + ["--log-level", "debug"],
                env={"PATH": os.environ["PATH"], "RUST_BACKTRACE": "1"},
                stdout=log,
                stderr=log,
            )
        until(self._ready_or_dead, START_S, lambda: f"gateway is ready; its log ends: {self.log_tail()}")
        self.first_fds = self.fds_without_tunnels()

    def _ready_or_dead(self):
        if not self.process.running():
            raise Failed(f"gateway ended with {self.process.end()}: {self.log_tail()}")
        return self.ready()

    def ready(self):
        """Returns whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    @property
    def pid(self):
        """The process id."""
        return self.process.pid

    def terminate(self):
        """Asks it to drain."""
        self.process.send(signal.SIGTERM)

    def wait(self, seconds=END_S):
        """Waits for its end, and returns its exit status."""
        return self.process.wait(seconds)

    def stop(self):
        """Ends it, whatever it does."""
        if self.process:
            self.process.end(signal.SIGTERM, 2)

    def metrics(self):
        """Returns every sample: {"name{labels}": value}."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name.removeprefix("eyesplice_")] = float(value)
        return samples

    def metric(self, name):
        """Returns one sample; 0 if there is none."""
        return self.metrics().get(name, 0.0)

    def total(self, name, **labels):
        """Returns the sum of all samples of a name that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for sample, value in self.metrics().items()
            if sample.split("{")[0] == name and all(label in sample for label in wanted)
        )

    def fds(self):
        """Returns how many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss(self):
        """Returns its resident memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def log_tail(self):
        """Returns the end of its log."""
        return short(self.log.read_text(errors="replace")[-3000:], 3000) if self.log.exists() else ""

    def log_size(self):
        """Returns the length of its log, as a place to read from."""
        return self.log.stat().st_size

    def log_since(self, place):
        """Returns what it logged after a place."""
        with open(self.log, "rb") as log:
            log.seek(place)
            return log.read().decode(errors="replace")

    def reload(self, change, hangup=False):
        """Calls `change`, which replaces files, and waits until the new state is in force.

        The gateway notices by itself; with `hangup` it is told by a signal as well.
        """
        before = self.metrics()
        change()
        if hangup:
            self.process.send(signal.SIGHUP)

        def newer():
            now = self.metrics()
            return now["config_generation"] > before["config_generation"]

        until(newer, RELOAD_S, lambda: f"a reload; the log ends: {self.log_tail()}")
        # More than one file may have changed: the last of them counts.
        until(lambda: self.metric("config_last_reload_successful") == 1, RELOAD_S, "a good reload")

    def edit(self, *changes, hangup=False):
        """Replaces words of the configuration, and waits until that is in force."""
        text = self.config.read_text()
        for old, new in changes:
            expect(old in text, f"{self.config} has no {old!r}")
            text = text.replace(old, new)
        self.reload(lambda: replace(self.config, text), hangup)

    def idle(self):
        """Returns what a gateway without streams should not have; nothing if it has none of it."""
        metrics = self.metrics()
        left = {
            name: metrics[name]
            for name in (
                "streams_live",
                "streams_established",
                "streams_pending",
                'pipes{state="in_use"}',
                'buffers{state="in_use"}',
            )
            if metrics[name] != 0
        }
        pipes = int(metrics['pipes{state="open"}'])
        fds = self.fds_without_tunnels() - 2 * pipes
        if fds > self.first_fds:
            left["descriptors"] = f"{fds} and {pipes} pooled pipes, of {self.first_fds} at the start"
        return left

    def fds_without_tunnels(self):
        """Returns how many descriptors it has open beside those of agents, which come and go."""

        def settled():
            before = self._tunnels()
            fds = self.fds()
            # One that came or went meanwhile would be counted once.
            return (fds - before,) if self._tunnels() == before else None

        return until(settled, START_S, "tunnels that neither come nor go")[0]

    def _tunnels(self):
        metrics = self.metrics()
        return int(metrics["tunnel_agents"] + metrics["tunnel_parked"])

    def await_idle(self, seconds=30):
        """Waits until nothing is left of any stream."""

        def left():
            return f"nothing left of streams; left: {self.idle()}; its sockets: {self.sockets()}"

        until(lambda: not self.idle(), seconds, left)

    def sockets(self):
        """Returns its TCP sockets as `ss` lists them: state, addresses, descriptor."""
        listed = run(["ss", "-Htanp"], check=False).text
        return [" ".join(line.split()) for line in listed.splitlines() if f"pid={self.pid}," in line]


def replace(path, text):
    """Replaces a file as a whole, so that no reader ever sees half of it."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    if path.exists():
        os.chmod(temporary, path.stat().st_mode & 0o777)
    os.rename(temporary, path)
