"""Writes images for the node. Nothing is pulled; the same input makes the same file.

    images.py busybox BUSYBOX FILE       one root file system made of busybox, under two names
    images.py program PROGRAM FILE       a program and the libraries that it is linked with
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "package.d"))

import oci  # noqa: E402 (found below the path above)

# What holds a pod's namespaces: it sleeps, reaps, and ends when it is asked to.
SANDBOX = "trap exit INT TERM; while :; do sleep 86400 & wait $!; done"

COMMANDS = {
    "localhost/sandbox:1": ["/bin/sh", "-c", SANDBOX],
    "localhost/busybox:1": ["/bin/sh"],
}

# The name that pods call the program by.
PROGRAM = "localhost/eyesplice:1"


def of_busybox(busybox):
    """The images of the node itself."""
    layer = root(busybox)
    return {
        name: image(layer, {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"})
        for name, command in COMMANDS.items()
    }


def of_program(program):
    """The image of eyesplice."""
    layer = oci.Layer()
    with tempfile.NamedTemporaryFile() as stripped:
        # Its symbols are nine tenths of a debug build.
        subprocess.run(["strip", "--strip-debug", "-o", stripped.name, program], check=True)
        layer.file("usr/bin/eyesplice", Path(stripped.name).read_bytes(), 0o755)
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for library in sorted(set(re.findall(r"/\S+", linked))):
        layer.file(library.lstrip("/"), Path(library).read_bytes(), 0o755)
    layer.directory("etc")
    return {PROGRAM: image(layer, {"Entrypoint": ["/usr/bin/eyesplice"], "WorkingDir": "/"})}


def image(layer, config):
    """An image of one layer for this machine."""
    asked = ["dpkg", "--print-architecture"]
    machine = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return oci.Image([layer], config, f"linux/{machine}", "1970-01-01T00:00:00Z")


def root(busybox):
    """A root file system made of busybox."""
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
    """Writes the file, whole or not at all; prints the images' names."""
    kind, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    images = {"busybox": of_busybox, "program": of_program}[kind](source)
    new = out.with_suffix(".part")
    new.write_bytes(oci.layout(images))
    new.rename(out)
    print(*images)


if __name__ == "__main__":
    main()
