"""Runs a program as the newest container runtimes do by default: the calls of io_uring are denied.

    without-io-uring.py COMMAND [ARGUMENT...]

containerd since 1.7.4 and Docker since 25 answer them with EPERM (their default seccomp profiles).
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2

# io_uring_setup, io_uring_enter and io_uring_register have these numbers on every architecture.
FIRST, LAST = 425, 427

# linux/bpf_common.h and linux/seccomp.h.
LOAD_WORD, AT_LEAST, ABOVE, RETURN = 0x20, 0x35, 0x25, 0x06
ALLOW, DENY = 0x7FFF0000, 0x00050000 | errno.EPERM


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main():
    """Denies the calls and becomes the program."""
    steps = [
        (LOAD_WORD, 0, 0, 0),
        (AT_LEAST, 0, 2, FIRST),  # at least FIRST, or allowed
        (ABOVE, 1, 0, LAST),  # more than LAST is allowed
        (RETURN, 0, 0, DENY),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = Program(len(steps), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
