"""Writes the container image of eyesplice: Debian's libraries, and above them the program.

    image.py --binary FILE --bom FILE --packages DIR --name NAME --out FILE [...]

Nothing but these decides what it is: the same input has the same digest, which is printed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import base
import oci
import sbom

ROOT = Path(__file__).resolve().parents[2]

# The user of the processes, and of what they may write.
USER = 65532

PASSWD = f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n"
GROUP = f"root:x:0:\nnonroot:x:{USER}:\n"

DOCUMENTS = "usr/share/doc/eyesplice"


def program(binary, bom):
    """The layer of the program."""
    made = oci.Layer()
    made.file("usr/bin/eyesplice", binary.read_bytes(), 0o755)
    made.file("etc/passwd", PASSWD.encode())
    made.file("etc/group", GROUP.encode())
    made.directory("etc/eyesplice")
    # Sockets, and what an authority or an enrolled gateway keeps, where no volume is mounted.
    for path in ("run/eyesplice", "var/lib/eyesplice"):
        made.directory(path, 0o755, USER)
    made.file(f"{DOCUMENTS}/copyright", (ROOT / "control/dist/deb/copyright").read_bytes())
    made.file(f"{DOCUMENTS}/sbom.cdx.json", bom)
    return made


def labels(options, packages):
    """What the image says of itself."""
    made = {
        "title": "eyesplice",
        "description": options.description,
        "version": options.version,
        "licenses": "Apache-2.0",
        "source": options.source,
        "url": options.source,
        "created": stamp(options.epoch),
    }
    if options.revision:
        made["revision"] = options.revision
    made = {f"org.opencontainers.image.{name}": value for name, value in made.items()}
    made["dev.eyesplice.debian"] = ", ".join(f"{each.name} {each.version}" for each in packages)
    return made


def stamp(epoch):
    """A time as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def image(options, paths):
    """The image on some Debian packages."""
    packages = [base.Package(path) for path in paths]
    below = base.layer(packages)
    base.check(options.binary, below)
    bill = sbom.with_packages(json.loads(options.bom.read_text()), packages)
    layers = [below, program(options.binary, sbom.text(bill).encode())]
    config = {
        "User": f"{USER}:{USER}",
        "Env": ["PATH=/usr/bin"],
        "Entrypoint": ["/usr/bin/eyesplice"],
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Labels": labels(options, packages),
    }
    (architecture,) = {each.architecture for each in packages} - {"all"}
    return oci.Image(layers, config, f"linux/{architecture}", stamp(options.epoch))


def main():
    """Writes it, and prints its digest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", type=Path, required=True, help="the stripped program")
    parser.add_argument("--bom", type=Path, required=True, help="what sbom.py wrote")
    parser.add_argument("--packages", type=Path, required=True, help="a directory of Debian's")
    parser.add_argument("--download", action="store_true", help="have apt bring them there")
    parser.add_argument("--name", required=True, help="the image's name, without a tag")
    parser.add_argument("--version", required=True, help="its tag")
    parser.add_argument("--revision", help="the commit")
    parser.add_argument("--description", required=True)
    parser.add_argument("--source", required=True, help="where the source is")
    parser.add_argument("--epoch", type=int, required=True, help="when it was made")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        find = base.download if options.download else base.chosen
        made = image(options, find(options.packages))
    except base.BaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.write_bytes(oci.layout({f"{options.name}:{options.version}": made}))
    print(made.manifest["digest"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
