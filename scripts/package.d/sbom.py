"""Writes the software bill of materials of eyesplice: CycloneDX 1.5 in JSON, from cargo's own
metadata.

    sbom.py [--output FILE] [--target TRIPLE]

Lists what the binary is linked with, on one target, without what only builds or tests need. Nothing
in it depends on time or place, so that the same Cargo.lock makes the same file.
"""

import argparse
import json
import re
import subprocess
import sys
import urllib.parse
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "eyesplice"
TARGET = "x86_64-unknown-linux-gnu"


def metadata(target):
    """What cargo knows of the workspace on one target."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return json.loads(printed)


def linked(resolved, root, macros):
    """The packages that `root` is linked with, itself among them, each with what it needs itself.

    `macros` are those that only the compiler runs.
    """
    nodes = {node["id"]: node for node in resolved["nodes"]}
    found, left = {}, [root]
    while left:
        package = left.pop()
        if package in found:
            continue
        needs = [
            dep["pkg"]
            for dep in nodes[package]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"]) and dep["pkg"] not in macros
        ]
        found[package] = sorted(set(needs))
        left.extend(needs)
    return found


def is_macro(package):
    """Says whether a package is a procedural macro."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def checksums(lock):
    """SHA-256 of each crate's archive, by name and version, as Cargo.lock has them."""
    found = {}
    for entry in lock.split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(\w+) = "(.*)"$', entry, re.MULTILINE))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def reference(package):
    """A package's name in the document."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums):
    """One package."""
    made = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("description"):
        made["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # A slash is how old manifests write it.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := sums.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def document(known, lock, target):
    """The whole bill."""
    packages = {package["id"]: package for package in known["packages"]}
    (root,) = (key for key, package in packages.items() if package["name"] == PACKAGE)
    macros = {key for key, package in packages.items() if is_macro(package)}
    needs = linked(known["resolve"], root, macros)
    sums = checksums(lock)
    made = {key: component(packages[key], sums) for key in needs}
    main = made.pop(root)
    main["type"] = "application"
    refs = {key: reference(packages[key]) for key in needs}
    depends = [
        {"ref": refs[key], "dependsOn": sorted(refs[dep] for dep in deps)}
        for key, deps in needs.items()
    ]
    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": main,
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": sorted(made.values(), key=lambda each: each["bom-ref"]),
        "dependencies": sorted(depends, key=lambda each: each["ref"]),
    }
    return numbered(whole)


def numbered(whole):
    """A bill with its number: the same content has the same."""
    whole.pop("serialNumber", None)
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(whole, sort_keys=True))
    return {"serialNumber": f"urn:uuid:{number}", **whole}


def with_packages(bill, packages):
    """The bill of an image that has these Debian packages besides."""
    release = "distro=debian-12"
    for package in packages:
        # A plus is percent-encoded in a package URL.
        version = urllib.parse.quote(package.version, safe="~")
        purl = f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}&{release}"
        bill["components"].append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": package.name,
                "version": package.version,
                "purl": purl,
                "hashes": [{"alg": "SHA-256", "content": package.sha256()}],
            }
        )
    return numbered(bill)


def text(bill):
    """A bill as it is written."""
    return json.dumps(bill, indent=1) + "\n"


def main():
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, metavar="FILE")
    parser.add_argument("--target", default=TARGET, metavar="TRIPLE")
    options = parser.parse_args()
    whole = document(metadata(options.target), (ROOT / "Cargo.lock").read_text(), options.target)
    if options.output:
        options.output.write_text(text(whole))
    else:
        sys.stdout.write(text(whole))


if __name__ == "__main__":
    main()
