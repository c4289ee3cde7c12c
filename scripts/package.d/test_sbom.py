"""Tests of sbom.py."""

import json
import unittest

import sbom


def package(name, version="1.0.0", kind="lib", **more):
    """A package as cargo metadata has it."""
    return {"id": name, "name": name, "version": version, "targets": [{"kind": [kind]}], **more}


def needs(name, *deps):
    """A node of cargo's graph: `build:NAME` is for a build script alone."""
    kinds = [dep.partition(":") for dep in deps]
    made = [
        {"pkg": rest or first, "dep_kinds": [{"kind": first if rest else None}]}
        for first, _, rest in kinds
    ]
    return {"id": name, "deps": made}


KNOWN = {
    "packages": [
        package("eyesplice", license="Apache-2.0"),
        package("ring", license="MIT/Apache-2.0", description="Crypto\n code"),
        package("derive", kind="proc-macro"),
        package("syn"),
        package("cc"),
        package("bench"),
    ],
    "resolve": {
        "nodes": [
            needs("eyesplice", "ring", "derive"),
            needs("ring", "build:cc"),
            needs("derive", "syn"),
            needs("syn"),
            needs("cc"),
            needs("bench", "ring"),
        ]
    },
}

LOCK = '''
[[package]]
name = "ring"
version = "1.0.0"
source = "registry"
checksum = "00ff"
'''


class Bill(unittest.TestCase):
    """The document."""

    def setUp(self):
        """Makes one."""
        self.made = sbom.document(KNOWN, LOCK, "x")

    def test_only_what_is_linked_is_listed(self):
        """No macros, build scripts or other members."""
        self.assertEqual([each["name"] for each in self.made["components"]], ["ring"])
        self.assertEqual(self.made["metadata"]["component"]["name"], "eyesplice")
        depends = {each["ref"]: each["dependsOn"] for each in self.made["dependencies"]}
        ring = "pkg:cargo/ring@1.0.0"
        self.assertEqual(depends, {"pkg:cargo/eyesplice@1.0.0": [ring], ring: []})

    def test_component_has_licence_and_checksum(self):
        """As the manifest and Cargo.lock have them."""
        (ring,) = self.made["components"]
        self.assertEqual(ring["licenses"], [{"expression": "MIT OR Apache-2.0"}])
        self.assertEqual(ring["hashes"], [{"alg": "SHA-256", "content": "00ff"}])
        self.assertEqual(ring["description"], "Crypto code")

    def test_number_follows_the_content(self):
        """The same twice, another for another lock."""
        self.assertEqual(self.made, sbom.document(KNOWN, LOCK, "x"))
        other = sbom.document(KNOWN, LOCK.replace("00ff", "00fe"), "x")
        self.assertNotEqual(self.made["serialNumber"], other["serialNumber"])

    def test_image_has_its_packages_besides(self):
        """With checksums, and a number of its own."""

        class Package:
            """What an image knows of a Debian package."""

            name, version, architecture = "libc6", "2.36-9+deb12u1", "amd64"

            @staticmethod
            def sha256():
                """A checksum."""
                return "00aa"

        number = self.made["serialNumber"]
        bill = sbom.with_packages(self.made, [Package()])
        ring, libc = bill["components"]
        self.assertEqual(ring["name"], "ring")
        purl = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12"
        self.assertEqual(libc["purl"], purl)
        self.assertEqual(libc["hashes"], [{"alg": "SHA-256", "content": "00aa"}])
        self.assertNotEqual(bill["serialNumber"], number)
        self.assertEqual(json.loads(sbom.text(bill)), bill)


if __name__ == "__main__":
    unittest.main()
