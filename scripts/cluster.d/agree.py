"""Compares `eyesplice pki verify` with `openssl verify` on every certificate of a tree.

usage: agree.py EYESPLICE DIR
"""

import json
import subprocess
import sys
from pathlib import Path

# What openssl calls the two extended key usages.
PURPOSES = {"server": ["sslserver"], "client": ["sslclient"], "server, client": ["sslserver", "sslclient"]}

# openssl is asked for chain, usages and validity; modes, keys, names and roles are ours alone.


def openssl_refuses(directory, row):
    """Returns what openssl has against a certificate, or nothing."""
    # The CA in the file is the trust anchor, be it a root or not.
    command = ["openssl", "verify", "-x509_strict", "-partial_chain"]
    certificate, authority = directory / row["file"], directory / row["authority"]
    for purpose in PURPOSES.get(row["kind"], ["any"]):
        asked = subprocess.run(
            [*command, "-purpose", purpose, "-CAfile", authority, "-untrusted", certificate, certificate],
            capture_output=True,
            text=True,
        )
        if asked.returncode != 0:
            return (asked.stderr or asked.stdout).strip().replace("\n", "; ")
    return None


def main():
    eyesplice, directory = sys.argv[1], Path(sys.argv[2])
    shown = subprocess.run([eyesplice, "pki", "show", directory, "-o", "json"], capture_output=True, text=True)
    if shown.returncode != 0:
        sys.exit(f"eyesplice pki show failed: {shown.stderr.strip()}")
    asked = disagreed = refused = 0
    for row in json.loads(shown.stdout)["files"]:
        errors = [flaw["message"] for flaw in row["flaws"] if flaw["severity"] == "error"]
        theirs = openssl_refuses(directory, row) if row.get("authority") else None
        asked += bool(row.get("authority"))
        refused += bool(errors)
        for message in errors:
            print(f"{row['file']}: eyesplice: {message}")
        if theirs:
            print(f"{row['file']}: openssl: {theirs}")
        if row.get("authority") and bool(errors) != bool(theirs):
            disagreed += 1
            print(f"{row['file']}: eyesplice and openssl disagree")
    print(f"{asked} certificates asked of both, {refused} files refused, {disagreed} disagreements")
    sys.exit(1 if disagreed or refused else 0)


if __name__ == "__main__":
    main()
