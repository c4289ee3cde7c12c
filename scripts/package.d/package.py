"""What the package has, and what holds wherever it is installed."""

import contextlib
import shutil
import socket

from wait import expect, until

# How long a build of the package, a start, and a boot may take, in seconds.
BUILD_S = 900
START_S = 30
BOOT_S = 120

SOCKET = "run/eyesplice/egress.sock"
CONFIGURATION = "etc/eyesplice/gateway.yaml"
SERVICES = ("agent", "authority", "bootstrap", "gateway")
UNITS = tuple(f"eyesplice-{name}.service" for name in SERVICES)


def install(system, package):
    """Installs or upgrades it; a question about a file would fail, for nobody answers."""
    place = system.path / "root" / package.name
    shutil.copy(package, place)
    system.run("dpkg", "--install", f"/root/{package.name}")
    place.unlink()


def ask(path, target="10.0.0.11:10250"):
    """Returns the status line that a gateway answers a CONNECT with."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(START_S)
        connection.connect(str(path))
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection.makefile("rb").readline().decode().strip()


def denies(path):
    """The configuration as it comes denies everything, and says what to do."""

    def refusal():
        with contextlib.suppress(OSError):
            return ask(path)
        return None

    said = until(refusal, START_S, f"an answer at {path}")
    expect(said.startswith("HTTP/1.1 403 ") and "egress.rules" in said, said)
