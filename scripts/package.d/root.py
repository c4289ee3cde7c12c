"""A clean Debian 12: made once by debootstrap, and laid below an overlay for each use."""

import os
import shutil
import subprocess
from pathlib import Path

import processes

# What a server of Debian 12 has, as far as the package depends on it.
PACKAGES = ("dbus", "procps", "systemd", "systemd-sysv")

# How long the download and the unpacking may take, in seconds.
MAKE_S = 900

COMMAND_S = 120


def cached(cache):
    """Returns the directory of the clean system, which is made if it is not there."""
    there = Path(cache, "debian12-root")
    if not there.is_dir():
        part = there.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        processes.run([*command, "bookworm", part], MAKE_S)
        shutil.rmtree(part / "var/cache/apt", ignore_errors=True)
        part.rename(there)
    return there


class Root:
    """A clean system in the caller's mount namespace, as it is right after its installation."""

    def __init__(self, lower, directory):
        self.path = Path(directory, "root")
        memory = Path(directory, "memory")
        for each in (self.path, memory):
            each.mkdir()
        processes.run(["mount", "-t", "tmpfs", "tmpfs", memory])
        for part in ("upper", "work"):
            (memory / part).mkdir()
        layers = f"lowerdir={lower},upperdir={memory}/upper,workdir={memory}/work"
        processes.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.path])
        self.memory = memory

    def mount_kernel(self):
        """Gives it what programs expect of a kernel; it has no service manager."""
        processes.run(["mount", "-t", "proc", "proc", self.path / "proc"])
        processes.run(["mount", "--rbind", "/dev", self.path / "dev"])
        processes.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.path / "run"])

    def enter(self, command):
        """Returns a command line that runs in it."""
        return ["chroot", self.path, *command]

    def run(self, *command, check=True):
        """Runs a program in it, and returns how it ended."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        return processes.run(self.enter(command), COMMAND_S, env=env, check=check)

    def files(self):
        """Returns every path in it, but for those of running programs and of dpkg itself."""
        left_out = ("proc/", "dev/", "sys/", "var/lib/dpkg/", "var/log/", "var/cache/", "tmp/")
        found = set()
        for folder, folders, files in os.walk(self.path):
            place = Path(folder).relative_to(self.path)
            for name in (*folders, *files):
                path = str(place / name)
                if not f"{path}/".startswith(left_out):
                    found.add(path)
        return found

    def close(self):
        """Takes it down."""
        for place in (self.path, self.memory):
            command = ["umount", "--recursive", "--lazy", place]
            subprocess.run(command, check=False, capture_output=True)
