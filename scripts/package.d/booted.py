"""The package where systemd is the first process: in a container that systemd-nspawn boots."""

import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

import processes
import root as clean
from package import BOOT_S, CONFIGURATION, SOCKET, START_S, UNITS, denies, install
from wait import Failed, expect, same, until

# A gateway that splices to an echo in its own network, and drains for no longer than a test waits.
ECHO_PORT = 7777
SPLICING = f"""
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {{path: /run/eyesplice/egress.sock, allowedUIDs: [0]}}
egress:
  insecureAllowTargets: [127.0.0.0/8]
  rules:
  - {{name: echo, cidrs: [127.0.0.0/8], ports: [{ECHO_PORT}], action: splice}}
timeouts: {{drain: 2s}}
"""
ECHO = f"""
import socket, threading
def echo(connection):
    while piece := connection.recv(65536):
        connection.sendall(piece)
server = socket.create_server(("127.0.0.1", {ECHO_PORT}))
while True:
    threading.Thread(target=echo, args=[server.accept()[0]], daemon=True).start()
"""


class Booted(clean.Root):
    """A clean system that systemd has booted."""

    def __init__(self, lower, directory):
        super().__init__(lower, directory)
        self.log = open(Path(directory, "boot.log"), "ab")
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]
        command += ["--system-call-filter=io_uring_setup io_uring_enter io_uring_register"]
        command += ["--link-journal=no", "--directory", self.path, "--boot"]
        self.container = processes.Process(command, stdout=self.log, stderr=self.log)
        self.leader = None

    def wait(self):
        """Waits until it takes commands; fails with its last words."""

        def leader():
            expect(self.container.running(), f"it ended: {self.tail()}")
            children = Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children")
            return children.read_text().split()

        self.leader = until(leader, BOOT_S, "the container's first process")[0]

        def booted():
            expect(self.container.running(), f"it ended: {self.tail()}")
            state = self.run("systemctl", "is-system-running", check=False).text.strip()
            return state in ("running", "degraded")

        until(booted, BOOT_S, lambda: f"it is not up: {self.tail()}")

    def tail(self):
        """The last words of the boot."""
        return Path(self.log.name).read_text(errors="replace")[-1500:]

    def enter(self, command):
        """Returns a command line that runs in it."""
        return ["nsenter", "--target", self.leader, "--all", "--", *command]

    def seen(self, path):
        """A path in it, as its processes see it."""
        return Path(f"/proc/{self.leader}/root", path)

    def main_pid(self, unit):
        """The process of a service; 0: it does not run."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit).text)


def with_manager(report, packages, lower):
    """The same where systemd is the first process."""
    first, second = packages
    with tempfile.TemporaryDirectory() as directory:
        system = Booted(lower, directory)
        try:
            try:
                system.wait()
            except Failed as failure:
                report.skip("package under systemd", f"no container boots: {failure}")
                return
            report.check("installs under systemd", install, system, first)
            for unit in UNITS:
                report.check(f"{unit} as it is shipped", unit_is_sound, system, unit)
            report.check("starts under systemd", started, system)
            report.check("upgrades under a live stream", upgraded_live, system, second)
            report.check("is purged under systemd", purged_live, system)
        finally:
            processes.end_all()
            system.close()


def unit_is_sound(system, unit):
    """systemd reads the unit without a complaint, and it is confined."""
    system.run("systemd-analyze", "verify", "--man=no", f"/lib/systemd/system/{unit}")
    judged = system.run("systemd-analyze", "security", unit, "--threshold=15", check=False)
    expect(judged.code == 0, judged.text.splitlines()[-1:])


def started(system):
    """A service that is enabled runs as it should."""
    same(system.main_pid("eyesplice-gateway"), 0, "process before a start")
    system.run("systemctl", "enable", "--now", "eyesplice-gateway")
    denies(system.seen(SOCKET))
    status = system.run("systemctl", "show", "--property=StatusText,NRestarts", "eyesplice-gateway")
    expect("NRestarts=0" in status.text, status.text)
    system.run("systemctl", "reload", "eyesplice-gateway")
    denies(system.seen(SOCKET))
    logged = system.run("journalctl", "--unit=eyesplice-gateway", "--output=cat").text
    lines = [json.loads(line) for line in logged.splitlines() if '"kind":"end"' in line]
    expect(any(line["reason"] == "denied" for line in lines), f"no audit line: {logged[-1000:]}")


class Echo(threading.Thread):
    """A stream through the gateway that is never silent, and checks every byte that comes back."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(START_S)
        self.connection.connect(str(path))
        asked = f"CONNECT 127.0.0.1:{ECHO_PORT} HTTP/1.1\r\nHost: x\r\n\r\n"
        self.connection.sendall(asked.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.connection.recv(1)
            expect(byte, f"no answer to a CONNECT: {head!r}")
            head += byte
        expect(b" 200 " in head, head)
        self.turns, self.wrong = 0, None

    def run(self):
        """Goes on until the stream ends."""
        with contextlib.suppress(OSError):
            while True:
                sent = os.urandom(1000)
                self.connection.sendall(sent)
                back = b""
                while len(back) < len(sent) and (piece := self.connection.recv(len(sent))):
                    back += piece
                if back != sent:
                    self.wrong = None if sent.startswith(back) else back
                    return
                self.turns += 1


def carries(system):
    """A stream passes the gateway once its configuration allows that; returns it."""
    system.seen(CONFIGURATION).write_text(SPLICING)
    system.run("systemctl", "restart", "eyesplice-gateway")
    command = ["nsenter", "--target", system.leader, "--net", sys.executable, "-c", ECHO]
    processes.Process(command)

    def opened():
        with contextlib.suppress(OSError, Failed):
            return Echo(system.seen(SOCKET))
        return None

    stream = until(opened, START_S, "a stream to the echo")
    stream.start()
    until(lambda: stream.turns > 10, START_S, "bytes that come back")
    return stream


def upgraded_live(system, package):
    """An upgrade restarts what runs, and only that; a live stream is exact to its end."""
    stream = carries(system)
    before, turns = system.main_pid("eyesplice-gateway"), stream.turns
    install(system, package)
    after = system.main_pid("eyesplice-gateway")
    expect(after not in (0, before), f"process {before} before, {after} after")
    same(system.main_pid("eyesplice-agent"), 0, "process of a service that was never started")
    expect(stream.turns > turns, "nothing passed the stream during the upgrade")
    same(stream.wrong, None, "bytes that came back")
    again = carries(system)
    expect(again.turns > 0, "no stream after the upgrade")


def purged_live(system):
    """A purge stops it, and nothing of it is enabled or left in /run."""
    system.run("dpkg", "--purge", "eyesplice")
    expect(not system.seen(CONFIGURATION).exists(), "the configuration is left")
    expect(not system.seen("run/eyesplice").exists(), "/run/eyesplice is left")
    found = system.run("systemctl", "list-unit-files", "eyesplice*", check=False).text
    expect("0 unit files" in found, found)
