"""What the program needs of Debian 12 in an image: a layer from Debian's own packages."""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import oci

# Names the system and has the licences; CAs for a kubeconfig that names none; the C library, and
# what the program's own compiler adds.
PACKAGES = ("base-files", "ca-certificates", "gcc-12-base", "libc6", "libgcc-s1")

# What of them an image without a shell needs: what the system is, libraries, licences.
KEPT = re.compile(
    r"etc/(debian_version|os-release)$|usr/lib/os-release$"
    r"|lib(64)?/([^/]+/)?[^/]+\.so[^/]*$"
    r"|usr/share/(common-licenses/|doc/[^/]+(/copyright)?$)"
)
AUTHORITIES = "usr/share/ca-certificates/mozilla/"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"

# How long a download may take, in seconds.
DOWNLOAD_S = 300


class BaseError(Exception):
    """The base cannot be made; the text says why and what to do."""


class Package:
    """One package's file."""

    def __init__(self, path):
        self.path = Path(path)
        self.control = run("dpkg-deb", "--field", path).decode()
        fields = dict(re.findall(r"^([\w-]+): (.*)$", self.control, re.MULTILINE))
        self.name, self.version = fields["Package"], fields["Version"]
        self.architecture = fields["Architecture"]

    def sha256(self):
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def members(self):
        """Yields paths and members with what is in them, but for directories."""
        with tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--fsys-tarfile", self.path))) as tar:
            for member in tar:
                if not member.isdir():
                    data = b"" if member.issym() else tar.extractfile(member).read()
                    yield str(PurePosixPath(member.name)), member, data


def run(*command):
    """What a program prints."""
    try:
        return subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_S).stdout
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise BaseError(f"{' '.join(map(str, command))} failed: {said}") from error


def download(directory):
    """Gets the packages that apt has now into a directory, unless they are there; returns paths."""
    directory.mkdir(parents=True, exist_ok=True)
    apt = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root")
    if os.geteuid() == 0:
        # Without a network, or beside another apt, what it knows has to do.
        with contextlib.suppress(BaseError):
            run(*apt, "update")
    wanted = announced(run(*apt, "--print-uris", "download", *PACKAGES).decode())
    for path, sha256 in ((directory / name, sha256) for name, sha256 in wanted.items()):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            continue
        with tempfile.TemporaryDirectory(dir=directory) as part:
            script = 'cd "$0" && exec "$@"'
            run("sh", "-c", script, part, *apt, "download", path.name.partition("_")[0])
            (got,) = Path(part).iterdir()
            got.rename(path)
    return [directory / name for name in wanted]


def announced(text):
    """File names and SHA-256 of `apt-get --print-uris`; the hash is empty where it is another."""
    found = re.findall(r"^'\S+' (\S+) \d+ (?:SHA256:([0-9a-f]{64}))?", text, re.MULTILINE)
    if len(found) != len(PACKAGES):
        raise BaseError(f"apt knows {found}, not {PACKAGES}: run apt-get update, on Debian 12")
    return dict(found)


def chosen(directory):
    """The paths of the packages in a directory, one of each."""
    found = [path for name in PACKAGES for path in sorted(directory.glob(f"{name}_*.deb"))]
    if [path.name.partition("_")[0] for path in found] != list(PACKAGES):
        raise BaseError(f"{directory} must have one file of each of {', '.join(PACKAGES)}")
    return found


def layer(packages):
    """The layer of some packages."""
    made, authorities = oci.Layer(), {}
    for package in packages:
        for path, member, data in package.members():
            if path.startswith(AUTHORITIES):
                authorities[path] = data
            elif not KEPT.match(path):
                continue
            elif member.issym():
                made.link(path, member.linkname)
            else:
                made.file(path, data, member.mode & 0o755)
        # Where scanners of images without dpkg look for what is installed.
        made.file(f"var/lib/dpkg/status.d/{package.name}", package.control.encode())
    # As update-ca-certificates makes it.
    made.file(BUNDLE, b"".join(authorities[path] for path in sorted(authorities)))
    made.file("etc/nsswitch.conf", b"hosts: files dns\n")
    made.directory("tmp", 0o1777)
    return made


def check(binary, base):
    """Makes sure that the base has each library, and each version of it, that a program needs."""
    libraries = {PurePosixPath(path).name: path for path in base.paths() if ".so" in path}
    told = run("objdump", "-p", binary).decode()
    for name in re.findall(r"^\s+NEEDED\s+(\S+)$", told, re.MULTILINE):
        if name not in libraries:
            raise BaseError(f"{binary} needs {name}, which the image has not: add its package")
    for name, wanted in needed_versions(told).items():
        with tempfile.NamedTemporaryFile() as library:
            library.write(base.read(libraries[name]))
            library.flush()
            lacks = wanted - defined_versions(run("objdump", "-p", library.name).decode())
        if lacks:
            raise BaseError(
                f"{binary} needs {', '.join(sorted(lacks))} of {name}, which Debian 12 has not: "
                "build it there"
            )


def needed_versions(told):
    """The versions of each library that `objdump -p` says a program needs."""
    references = told.partition("Version References:")[2]
    parts = re.split(r"^\s+required from (\S+):$", references, flags=re.MULTILINE)
    line = re.compile(r"^\s+0x\S+ 0x\S+ \d+ (\S+)$", re.MULTILINE)
    return {name: set(line.findall(part)) for name, part in zip(parts[1::2], parts[2::2])}


def defined_versions(told):
    """The versions that `objdump -p` says a library has."""
    definitions = told.partition("Version definitions:")[2].partition("Version References:")[0]
    return set(re.findall(r"^\d+ 0x\S+ 0x\S+ (\S+)\s*$", definitions, re.MULTILINE))
