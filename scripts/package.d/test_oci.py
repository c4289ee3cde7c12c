"""Tests of oci.py."""

import gzip
import io
import json
import tarfile
import unittest

import oci

NAME = "localhost/eyesplice:0.1.0"


def layer(order=("usr/bin/eyesplice", "etc/passwd")):
    """A layer whose files are added in an order."""
    made = oci.Layer()
    for path in order:
        made.file(path, path.encode(), 0o755)
    made.link("bin", "usr/bin")
    made.directory("run/eyesplice", owner=65532)
    return made


def opened(data):
    """An archive's members by name, and what is in its files."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: (member, tar.extractfile(member).read() if member.isfile() else b"")
            for member in tar.getmembers()
        }


class Layers(unittest.TestCase):
    """Archives of files."""

    def test_order_of_additions_changes_nothing(self):
        """The same files make the same bytes."""
        other = layer(("etc/passwd", "usr/bin/eyesplice"))
        self.assertEqual(layer().tar(), other.tar())

    def test_entries_have_no_time_and_an_owner(self):
        """Nothing of the machine that made it gets in; folders come before what is in them."""
        members = opened(layer().tar())
        self.assertEqual(list(members), sorted(members))
        self.assertLess(list(members).index("usr"), list(members).index("usr/bin"))
        self.assertEqual({member.mtime for member, _ in members.values()}, {0})
        self.assertEqual({member.uname for member, _ in members.values()}, {""})
        owners = {name: member.uid for name, (member, _) in members.items() if member.uid}
        self.assertEqual(owners, {"run/eyesplice": 65532})

    def test_file_behind_links_is_read(self):
        """Links are followed from where they are, and from the root."""
        made = layer()
        made.file("lib/x/libc.so.6", b"C")
        made.link("lib64/ld.so", "/lib/x/libc.so.6")
        made.link("lib/x/again", "../../lib64/ld.so")
        self.assertEqual(made.read("lib/x/again"), b"C")

    def test_links_in_a_circle_are_an_error(self):
        """They end."""
        made = oci.Layer()
        made.link("a", "b")
        made.link("b", "a")
        with self.assertRaisesRegex(ValueError, "circle"):
            made.read("a")


class Images(unittest.TestCase):
    """Layouts."""

    def setUp(self):
        """Makes one."""
        self.config = {"User": "65532:65532"}
        self.image = oci.Image([layer()], self.config, "linux/amd64", "2026-12-01T00:00:00Z")
        self.files = opened(oci.layout({NAME: self.image}))

    def blob(self, descriptor):
        """What a descriptor names; its digest and size are right."""
        _, data = self.files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        self.assertEqual(oci.digest(data), descriptor["digest"])
        self.assertEqual(len(data), descriptor["size"])
        return data

    def test_layout_leads_to_the_layer(self):
        """From the index to the files."""
        layout = json.loads(self.files["oci-layout"][1])
        self.assertEqual(layout, {"imageLayoutVersion": "1.0.0"})
        (entry,) = json.loads(self.files["index.json"][1])["manifests"]
        self.assertEqual(entry["platform"], {"os": "linux", "architecture": "amd64"})
        name = entry["annotations"]["io.containerd.image.name"]
        self.assertEqual(name, NAME)
        self.assertEqual(entry["digest"], self.image.manifest["digest"])
        manifest = json.loads(self.blob(entry))
        config = json.loads(self.blob(manifest["config"]))
        self.assertEqual(config["config"], self.config)
        (packed,) = manifest["layers"]
        tar = gzip.decompress(self.blob(packed))
        self.assertEqual(config["rootfs"]["diff_ids"], [oci.digest(tar)])
        self.assertEqual(tar, layer().tar())

    def test_same_input_has_the_same_digest(self):
        """And another input another one."""
        again = oci.Image([layer()], self.config, "linux/amd64", "2026-12-01T00:00:00Z")
        self.assertEqual(oci.layout({NAME: again}), oci.layout({NAME: self.image}))
        other = oci.Image([layer()], {"User": "0"}, "linux/amd64", "2026-12-01T00:00:00Z")
        self.assertNotEqual(other.manifest, self.image.manifest)

    def test_images_of_one_archive_share_their_layers(self):
        """Each has its own entry and configuration."""
        other = oci.Image([layer()], {"User": "0"}, "linux/amd64", "2026-12-01T00:00:00Z")
        files = opened(oci.layout({NAME: self.image, "localhost/other:1": other}))
        self.assertEqual(len(json.loads(files["index.json"][1])["manifests"]), 2)
        # Two manifests, two configurations, one layer.
        self.assertEqual(len([name for name in files if name.startswith("blobs/sha256/")]), 5)


if __name__ == "__main__":
    unittest.main()
