"""Builds the Debian package, and installs, starts, upgrades, removes and purges it in a clean
Debian 12.

    installed.py --eyesplice PATH

First in a root without a service manager, where the unit's own command lines are run by hand. Then
in one that systemd-nspawn boots, with systemctl. Closes with "N passed, N failed, N skipped".
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/e2e.d"))

import processes  # noqa: E402 (found below the path above)
import root as clean  # noqa: E402
from booted import with_manager  # noqa: E402
from package import BUILD_S, CONFIGURATION, SOCKET, UNITS, denies, install  # noqa: E402
from wait import Failed, expect, same  # noqa: E402

# What a purge leaves: the user's and the group's lines are in files that were there before.
KEPT = {"etc/group-", "etc/gshadow-", "etc/passwd-", "etc/shadow-", "etc/.pwd.lock"}


class Report:
    """Counts what held."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def check(self, name, body, *arguments):
        """Runs one check."""
        try:
            body(*arguments)
        except (Failed, OSError) as failure:
            self.failed += 1
            print(f"FAILED {name}: {failure}", flush=True)
            return False
        self.passed += 1
        print(f"ok     {name}", flush=True)
        return True

    def skip(self, name, why):
        """Says what cannot be tried here."""
        self.skipped += 1
        print(f"SKIPPED: {name}: {why}", flush=True)

    def close(self):
        """Prints the sums; returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


def build(binary, out, revision):
    """Makes the package; returns its path."""
    command = [ROOT / "scripts/package", "--binary", binary, "--revision", revision, "--out", out]
    return Path(processes.run([*command, "--fast"], BUILD_S).text.split()[-1])


def digest(path):
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reproducible(binary, package, directory):
    """The same input makes the same file."""
    again = Path(directory, "again")
    again.mkdir()
    same(digest(build(binary, again, 1)), digest(package), "SHA-256 of a second build")


def lint(package):
    """Lintian finds no error and no warning that is not overridden."""
    if not shutil.which("lintian"):
        raise Failed("lintian is not here")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]
    found = processes.run([*command, package], BUILD_S, check=False)
    expect(found.code == 0, found.text + found.err)


def contents(package):
    """The package has what it should, and the files that people edit are conffiles."""
    listed = processes.run(["dpkg-deb", "--fsys-tarfile", package]).out
    names = processes.run(["tar", "-t"], stdin=listed).text.split()
    for name in (
        "./usr/bin/eyesplice",
        "./usr/share/man/man1/eyesplice-gateway.1.gz",
        "./usr/share/bash-completion/completions/eyesplice",
        "./usr/share/doc/eyesplice/sbom.cdx.json",
        "./usr/lib/sysusers.d/eyesplice.conf",
        *(f"./lib/systemd/system/{unit}" for unit in UNITS),
    ):
        expect(name in names, f"{name} is not in the package")
    conffiles = processes.run(["dpkg-deb", "--info", package, "conffiles"]).text.split()
    same(sorted(conffiles), ["/etc/default/eyesplice-bootstrap", f"/{CONFIGURATION}"], "conffiles")


def installed(system):
    """The user, the directories and the configuration are there, and nothing is enabled."""
    entry = system.run("getent", "passwd", "eyesplice").text.split(":")
    same(entry[5:], ["/var/lib/eyesplice", "/usr/sbin/nologin\n"], "home and shell")
    for place, wanted in (
        ("/run/eyesplice", "eyesplice eyesplice 755"),
        ("/etc/eyesplice/pki", "root eyesplice 750"),
    ):
        seen = system.run("stat", "--format=%U %G %a", place).text.strip()
        same(seen, wanted, place)
    check = ["eyesplice", "check", f"/{CONFIGURATION}"]
    checked = system.run("runuser", "-u", "eyesplice", "--", *check)
    expect("is valid" in checked.text, checked.text)
    wants = system.path / "etc/systemd/system/multi-user.target.wants"
    enabled = [each.name for each in wants.glob("eyesplice*")]
    same(enabled, [], "enabled services")


def unit_commands(system, unit):
    """A unit's command lines, as its user."""
    text = (system.path / "lib/systemd/system" / unit).read_text()
    fields = dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))
    identity = ["setpriv", "--reuid", fields["User"], "--regid", fields["Group"], "--clear-groups"]
    return [
        [*identity, "--no-new-privs", "--bounding-set=-all", *fields[name].split()]
        for name in ("ExecStartPre", "ExecStart")
    ]


def without_manager(report, packages, lower):
    """Installs, starts, upgrades and purges where there is no service manager."""
    first, second = packages
    with tempfile.TemporaryDirectory() as directory:
        system = clean.Root(lower, directory)
        try:
            system.mount_kernel()
            before = system.files()
            if not report.check("installs", install, system, first):
                return
            report.check("user, directories and configuration", installed, system)
            check, start = unit_commands(system, "eyesplice-gateway.service")
            report.check("the unit's check", lambda: system.run(*check))
            log = open(Path(directory, "gateway.log"), "ab")
            gateway = processes.Process(system.enter(start), stdout=log, stderr=log)
            report.check("the unit's start", denies, system.path / SOCKET)
            edited = system.path / CONFIGURATION
            edited.write_text(edited.read_text() + "limits: {maxStreams: 1000}\n")
            report.check("upgrades", upgraded, system, second, gateway)
            gateway.end()
            report.check("removes, and keeps configuration", removed, system)
            report.check("purges", purged, system, before)
        finally:
            processes.end_all()
            system.close()


def upgraded(system, package, gateway):
    """An upgrade keeps what was edited; without a service manager it touches no process."""
    install(system, package)
    version = system.run("dpkg-query", "--show", "--showformat=${Version}", "eyesplice").text
    expect(version.endswith("-2"), f"version {version}")
    kept = (system.path / CONFIGURATION).read_text()
    expect(kept.endswith("limits: {maxStreams: 1000}\n"), "the edited configuration is gone")
    expect(gateway.running(), f"the gateway ended: {gateway.err()}")
    denies(system.path / SOCKET)


def removed(system):
    """Conffiles stay when the package goes."""
    system.run("dpkg", "--remove", "eyesplice")
    expect((system.path / CONFIGURATION).exists(), "the configuration is gone")
    expect(not (system.path / "usr/bin/eyesplice").exists(), "the program is still there")


def purged(system, before):
    """Nothing is left of it but its user."""
    for place in ("var/lib/eyesplice/node", "var/log/eyesplice"):
        (system.path / place).mkdir(parents=True, exist_ok=True)
    system.run("dpkg", "--purge", "eyesplice")
    left = sorted(system.files() - before - KEPT)
    same(left, [], "files that are left")


def outside(options, report):
    """Does what needs the machine's network and builds; returns the packages and the clean
    system."""
    out = Path(options.directory)
    packages = [build(options.eyesplice, out, revision) for revision in (1, 2)]
    report.check("the same input, the same file", reproducible, options.eyesplice, packages[0], out)
    report.check("lintian", lint, packages[0])
    report.check("contents", contents, packages[0])
    return packages, clean.cached(os.environ["EYESPLICE_CACHE"])


def isolated(packages, lower):
    """Runs the rest in namespaces of its own; returns its exit status."""
    kinds = ["--mount", "--propagation", "private", "--net", "--ipc", "--uts"]
    tried = subprocess.run(["unshare", *kinds, "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        print("SKIPPED: Debian package: it is installed in namespaces, which need root")
        return 0
    command = [sys.executable, "-B", __file__, "--packages", *packages, "--root", lower]
    return subprocess.run(["unshare", *kinds, *command], check=False).returncode


def main():
    """Carries it out; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eyesplice", type=lambda path: Path(path).resolve())
    parser.add_argument("--packages", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    report = Report()
    if options.packages:
        processes.run(["ip", "link", "set", "lo", "up"])
        without_manager(report, options.packages, options.root)
        with_manager(report, options.packages, options.root)
        return report.close()
    with tempfile.TemporaryDirectory(prefix="eyesplice-package.") as directory:
        options.directory = directory
        try:
            packages, lower = outside(options, report)
        except Failed as failure:
            print(f"FAILED to prepare: {failure}")
            return 1
        own = report.close()
        return own or isolated(packages, lower)


if __name__ == "__main__":
    sys.exit(main())
