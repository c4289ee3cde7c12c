"""Writes a Secret in Kubernetes' protobuf form, which the API server of our cluster needs.

Its JSON decoder is from before Go 1.18 and panics at types like that of a Secret's data, when built with
a newer Go, as Debian has it.
"""

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"


def secret(name, namespace, kind, data):
    """Returns a Secret: fields of k8s.io/api/core/v1 and apimachinery's meta/v1."""
    metadata = field(1, name) + field(3, namespace)
    entries = b"".join(field(2, field(1, key) + field(2, value)) for key, value in data.items())
    return unknown("v1", "Secret", field(1, metadata) + entries + field(3, kind))


def unknown(version, kind, raw):
    """Wraps an object as runtime.Unknown behind the magic number."""
    return b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, raw)


def field(number, value):
    """Writes a length-delimited field."""
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(number):
    """Writes a number, seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
