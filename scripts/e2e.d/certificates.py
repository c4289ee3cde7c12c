"""Makes certificates of the cluster's CAs anew, by openssl."""

import ssl
from pathlib import Path

from gateway import replace
from processes import run


def renew_ca(cluster, name):
    """Replaces a CA's certificate by one of the same key and name, as a renewal does."""
    certificate, key = cluster.path(f"{name}.crt"), cluster.path(f"{name}.key")
    new = run(["openssl", "x509", "-in", certificate, "-signkey", key, "-days", "400", "-set_serial", "4711"])
    for file in (certificate, cluster.path(f"{name}-chain.crt")):
        replace(file, new.text)


def issue(cluster, name, ca, subject, extensions):
    """Replaces a certificate and its key by new ones of the same CA."""
    work = cluster.state / "reissue"
    work.mkdir(exist_ok=True)
    key, request, extra = work / "key", work / "csr", work / "extensions"
    run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", key, "-out", request, "-subj", subject]
    )
    extra.write_text(extensions)
    signed = run(
        ["openssl", "x509", "-req", "-in", request, "-CA", cluster.path(f"{ca}.crt")]
        + ["-CAkey", cluster.path(f"{ca}.key"), "-set_serial", "4712", "-days", "300", "-extfile", extra]
    )
    replace(cluster.path(f"{name}.key"), key.read_text())
    replace(cluster.path(f"{name}.crt"), signed.text)


def der(path):
    """Returns the first certificate of a file, in DER."""
    return ssl.PEM_cert_to_DER_cert(first_pem(Path(path).read_text()))


def first_pem(text):
    """Returns the first certificate of a PEM text."""
    end = "-----END CERTIFICATE-----"
    return text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]


def serial(der):
    """Returns the serial number of a certificate in DER."""
    return run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], stdin=der).text.strip()


def dated(cluster, ca, subject, extensions, begin, end):
    """Makes a certificate of a CA that is valid from then to then; returns it with its key, as PEM."""
    work = cluster.state / "dated"
    work.mkdir(exist_ok=True)
    run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", work / "key", "-out", work / "csr", "-subj", subject]
    )
    signed = sign_dated(cluster, ca, work, f"{LEAF}\n{extensions}", begin, end)
    return signed + (work / "key").read_text()


def ending_ca(cluster, ca, begin, end):
    """Makes another certificate of a CA's own key and name, valid from then to then; returns it as PEM."""
    work = cluster.state / "dated"
    work.mkdir(exist_ok=True)
    certificate, key = cluster.path(f"{ca}.crt"), cluster.path(f"{ca}.key")
    run(["openssl", "x509", "-x509toreq", "-in", certificate, "-signkey", key, "-out", work / "csr"])
    # Its verifiers go by the key identifier, too.
    told = run(["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectKeyIdentifier"])
    extensions = f"{AUTHORITY}subjectKeyIdentifier = {told.text.split()[-1]}\n"
    return sign_dated(cluster, ca, work, extensions, begin, end)


def sign_dated(cluster, ca, work, extensions, begin, end):
    """Has a CA sign the request that lies in `work`; returns the certificate as PEM."""
    (work / "index").write_text("")
    (work / "config").write_text(DATED.format(work=work, extensions=extensions))
    signed = run(
        ["openssl", "ca", "-batch", "-notext", "-config", work / "config", "-in", work / "csr"]
        + ["-cert", cluster.path(f"{ca}.crt"), "-keyfile", cluster.path(f"{ca}.key")]
        + ["-startdate", f"{begin:%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}"]
    )
    return first_pem(signed.text) + "\n"


# What `openssl ca` wants besides; only it can be told when a certificate begins.
DATED = """\
[ca]
default_ca = made
[made]
new_certs_dir = {work}
database = {work}/index
rand_serial = yes
default_md = sha256
policy = names
preserve = yes
unique_subject = no
x509_extensions = made_with
[names]
organizationName = optional
commonName = supplied
[made_with]
{extensions}
"""

LEAF = """\
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
authorityKeyIdentifier = keyid
"""

AUTHORITY = """\
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyCertSign,cRLSign
"""


def signed_by(pem, ca):
    """Whether a certificate is signed by the key of a CA, without help of what comes behind it."""
    command = ["openssl", "verify", "-partial_chain", "-CAfile", ca]
    return run(command, stdin=pem.encode(), check=False).code == 0
