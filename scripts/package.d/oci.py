"""Writes images in the formats of the Open Container Initiative: the same input, the same bytes.

An image is a tar with a layout (index.json, blobs by digest), as `ctr images import` and others
read it. No container engine is needed.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import PurePosixPath

MEDIA = "application/vnd.oci.image"
LAYER, CONFIG, MANIFEST, INDEX = (
    f"{MEDIA}.{kind}"
    for kind in ("layer.v1.tar+gzip", "config.v1+json", "manifest.v1+json", "index.v1+json")
)


class Layer:
    """Files of root, without times, in the order of their names."""

    def __init__(self):
        self._entries = {}

    def __contains__(self, path):
        return path in self._entries

    def paths(self):
        """Every path in it."""
        return sorted(self._entries)

    def read(self, path):
        """What is in a file, also behind links."""
        for _ in range(8):
            entry, data = self._entries[path]
            if not entry.issym():
                return data
            path = self._behind(path, entry.linkname)
        raise ValueError(f"{path} is a link in a circle")

    @staticmethod
    def _behind(path, target):
        """The path that a link leads to."""
        parts = [] if target.startswith("/") else list(PurePosixPath(path).parent.parts)
        for part in PurePosixPath(target.lstrip("/")).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        return "/".join(parts)

    def directory(self, path, mode=0o755, owner=0):
        """Adds a directory; one that is there keeps its mode."""
        self._parents(path)
        if path not in self._entries:
            self._add(path, tarfile.DIRTYPE, mode, owner)

    def file(self, path, data, mode=0o644):
        """Adds a file."""
        self._parents(path)
        self._add(path, tarfile.REGTYPE, mode, data=data)

    def link(self, path, target):
        """Adds a symbolic link."""
        self._parents(path)
        self._add(path, tarfile.SYMTYPE, 0o777).linkname = target

    def _parents(self, path):
        parent = str(PurePosixPath(path).parent)
        if parent != ".":
            self.directory(parent)

    def _add(self, path, kind, mode, owner=0, data=b""):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.size = kind, mode, len(data)
        entry.uid = entry.gid = owner
        self._entries[path] = entry, data
        return entry

    def tar(self):
        """The layer as an archive."""
        return archive(self._entries[path] for path in sorted(self._entries))


def archive(entries):
    """A tar of (entry, data) pairs."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, data in entries:
            tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def digest(data):
    """How blobs are named."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encoded(value):
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Image:
    """The blobs of one image."""

    def __init__(self, layers, config, platform, created):
        self.blobs = {}
        self.platform = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
        tars = [layer.tar() for layer in layers]
        # No file name and no time in the head of the compressed form.
        packed = [gzip.compress(tar, compresslevel=9, mtime=0) for tar in tars]
        whole = {
            **self.platform,
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
            "history": [{"created": created} for _ in tars],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(CONFIG, encoded(whole)),
            "layers": [self._blob(LAYER, each) for each in packed],
        }
        self.manifest = self._blob(MANIFEST, encoded(manifest))

    def _blob(self, media_type, data):
        """Keeps a blob; returns what names it."""
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def entry(self, name):
        """What an index says of it."""
        names = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
        return {**self.manifest, "platform": self.platform, "annotations": names}


def layout(images):
    """Images by their names, as one archive."""
    entries = [image.entry(name) for name, image in images.items()]
    content = Layer()
    content.file("oci-layout", encoded({"imageLayoutVersion": "1.0.0"}))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    content.file("index.json", encoded(index))
    for image in images.values():
        for key, data in image.blobs.items():
            content.file(f"blobs/{key.replace(':', '/')}", data)
    return content.tar()
