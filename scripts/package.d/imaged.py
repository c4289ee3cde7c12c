"""Builds the container image, and uses it, the shipped manifests and the chart on a real cluster.

    imaged.py --eyesplice PATH --helm PATH

Closes with "N passed, N failed, N skipped".
"""

import argparse
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/e2e.d"))

import base  # noqa: E402 (found below the path above)
import pods  # noqa: E402
import processes  # noqa: E402
import wait  # noqa: E402
from chart import check_chart  # noqa: E402
from machine import USER, Machine  # noqa: E402
from report import Report  # noqa: E402
from wait import Failed, Interrupted, expect, same  # noqa: E402

# How long a build of the image may take, in seconds.
BUILD_S = 300


def build(binary, debs, out):
    """Makes the image; returns its path and digest."""
    command = [ROOT / "scripts/package", "image", "--binary", binary, "--debs", debs, "--out", out]
    path, digest = processes.run(command, BUILD_S).text.split()[-2:]
    return Path(path), digest


def same_again(options, debs, image, directory):
    """The same input, also in other files, has the same digest and the same bytes."""
    copies = directory / "copies"
    shutil.copytree(debs, copies)
    binary = shutil.copy(options.eyesplice, directory / "program")
    path, digest = build(binary, copies, directory / "again")
    same(digest, image[1], "digest of a second build")
    expect(path.read_bytes() == image[0].read_bytes(), "the archives differ")


def other_program(options, debs, image, directory):
    """Another program makes another image, on the same layer of Debian's."""
    binary = directory / "other"
    shutil.copy("/bin/true", binary)
    path, digest = build(binary, debs, directory / "different")
    expect(digest != image[1], "another program has the same digest")
    (below, own), (other_below, other_own) = layers(image[0]), layers(path)
    same((below == other_below, own == other_own), (True, False), "the layers are the same")


def blobs(path):
    """The files of an image's archive by name."""
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}


def manifest(path):
    """An image's manifest, its configuration, and its blobs by digest."""
    files = blobs(path)
    (entry,) = json.loads(files["index.json"])["manifests"]

    def blob(descriptor):
        return files[f"blobs/{descriptor['digest'].replace(':', '/')}"]

    found = json.loads(blob(entry))
    return found, json.loads(blob(found["config"])), blob


def layers(path):
    """The digests of an image's layers."""
    return [each["digest"] for each in manifest(path)[0]["layers"]]


def contents(path):
    """The image has what it should, and nothing that its user may change."""
    found, config, blob = manifest(path)
    told = config["config"]
    same(told["User"], f"{USER}:{USER}", "user")
    same(told["Entrypoint"], ["/usr/bin/eyesplice"], "entry point")
    expect("org.opencontainers.image.version" in told["Labels"], told["Labels"])
    members = {}
    for layer in found["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(layer))) as tar:
            members |= {each.name: each for each in tar}
    for name in ("usr/bin/eyesplice", "etc/ssl/certs/ca-certificates.crt", "usr/lib/os-release"):
        expect(name in members, f"{name} is not in the image")
    for name in ("bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/perl"):
        expect(name not in members, f"{name} is in the image")
    own = {each.name for each in members.values() if each.uid == USER}
    same(own, {"run/eyesplice", "var/lib/eyesplice"}, "paths of the image's user")
    special = {each.name for each in members.values() if each.mode & 0o6000}
    same(special, set(), "programs that change their user")


def on_cluster(options, image, check):
    """Uses the image on a cluster."""
    machine = Machine(options.eyesplice)
    try:
        if not check("cluster is up", machine.prepare):
            return
        name = pods.image_of(pods.GATEWAY)
        imported = "containerd has the digest that was printed"
        path, digest = image
        check(imported, lambda: same(machine.import_image(path, name), digest, "digest"))
        machine.make_secret("eyesplice-authority-signers", machine.files(*pods.SIGNERS))
        pods.check_gateway(machine, check)
        pods.check_authority(machine, check)
        check_chart(machine, options.helm, check)
    finally:
        machine.down(keep=True)


def all_of_it(options, report, directory):
    """Runs the checks."""

    def check(name, body):
        return report.check(name, body) is not None

    debs = directory / "debs"
    debs.mkdir()
    for path in base.download(Path(os.environ["EYESPLICE_CACHE"]) / "debs"):
        shutil.copy(path, debs)
    image = build(options.eyesplice, debs, directory / "image")
    check("the same input, the same digest", lambda: same_again(options, debs, image, directory))
    check("another program, another digest", lambda: other_program(options, debs, image, directory))
    check("contents of the image", lambda: contents(image[0]))
    if os.geteuid() != 0:
        report.skip("image on a cluster", "making a cluster needs root")
        return
    on_cluster(options, image, check)


def main():
    """Carries it out; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--eyesplice", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--helm", type=Path, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: wait.STOPPED.set())
    report = Report(verbose=True)
    with tempfile.TemporaryDirectory(prefix="eyesplice-image.") as directory:
        try:
            all_of_it(options, report, Path(directory))
        except Interrupted:
            return 130
        except (Failed, base.BaseError) as failure:
            report.check("image is made", lambda failure=failure: fail(failure))
        finally:
            processes.end_all()
    return 0 if report.close() else 1


def fail(failure):
    """Raises a failure in a check of its own."""
    raise Failed(str(failure))


if __name__ == "__main__":
    sys.exit(main())
