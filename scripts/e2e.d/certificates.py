"""Makes certificates of the cluster's CAs anew, by openssl."""

import ssl
from pathlib import Path

from gateway import replace
from processes import run


def renew_ca(cluster, name):
    """Replaces a CA's certificate by one of the same key and name, as a renewal does."""
    certificate, key = cluster.path(f"{name}.crt"), cluster.path(f"{name}.key")
    new = run(["openssl", "x509", "-in", certificate, "-signkey", key, "-days", "400", "-set_serial", "4711"])
    replace(certificate, new.text)


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
