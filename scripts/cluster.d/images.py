"""Writes the images of the node: one root file system made of busybox, under two names.

    images.py BUSYBOX FILE

Nothing is pulled; the same busybox makes the same file.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "package.d"))

import oci  # noqa: E402 (found below the path above)

# What holds a pod's namespaces: it sleeps, reaps, and ends when it is asked to.
SANDBOX = "trap exit INT TERM; while :; do sleep 86400 & wait $!; done"

COMMANDS = {
    "localhost/sandbox:1": ["/bin/sh", "-c", SANDBOX],
    "localhost/busybox:1": ["/bin/sh"],
}


def root(busybox):
    """The layer of both."""
    layer = oci.Layer()
    layer.file("bin/busybox", busybox.read_bytes(), 0o755)
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    for name in listed.split():
        if name != "busybox":
            layer.link(f"bin/{name}", "busybox")
    layer.directory("data")
    layer.directory("tmp", 0o1777)
    layer.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\n")
    return layer


def main():
    """Writes the file, whole or not at all."""
    busybox, out = Path(sys.argv[1]), Path(sys.argv[2])
    command = ["dpkg", "--print-architecture"]
    asked = subprocess.run(command, check=True, capture_output=True, text=True)
    layer, images = root(busybox), {}
    for name, command in COMMANDS.items():
        config = {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"}
        platform = f"linux/{asked.stdout.strip()}"
        images[name] = oci.Image([layer], config, platform, "1970-01-01T00:00:00Z")
    new = out.with_suffix(".part")
    new.write_bytes(oci.layout(images))
    new.rename(out)


if __name__ == "__main__":
    main()
