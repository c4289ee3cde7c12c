"""Tests of base.py."""

import unittest

import base

# What `objdump -p` prints of a program and of a library, shortened.
PROGRAM = """
Dynamic Section:
  NEEDED               libgcc_s.so.1
  NEEDED               libc.so.6

Version References:
  required from libgcc_s.so.1:
    0x0b792650 0x00 03 GCC_3.0
  required from libc.so.6:
    0x06969194 0x00 04 GLIBC_2.14
    0x069691b4 0x00 02 GLIBC_2.34
"""
LIBRARY = """
Version definitions:
1 0x01 0x0865f4e6 libc.so.6
2 0x00 0x09691a75 GLIBC_2.2.5
3 0x00 0x06969194 GLIBC_2.14
\tGLIBC_2.2.5
4 0x00 0x069691b4 GLIBC_2.34
\tGLIBC_2.14

Version References:
  required from ld-linux-x86-64.so.2:
    0x0963cf85 0x00 39 GLIBC_PRIVATE
"""

ANNOUNCED = "'http://host/libc6_2.36_amd64.deb' libc6_2.36_amd64.deb 7 SHA256:" + "0" * 64 + "\n"


class Libraries(unittest.TestCase):
    """What a program needs and what libraries have, as objdump says it."""

    def test_needed_versions_are_read_by_library(self):
        """Each with its own."""
        wanted = {"libgcc_s.so.1": {"GCC_3.0"}, "libc.so.6": {"GLIBC_2.14", "GLIBC_2.34"}}
        self.assertEqual(base.needed_versions(PROGRAM), wanted)

    def test_defined_versions_leave_out_what_a_library_needs(self):
        """And have what it defines."""
        has = {"libc.so.6", "GLIBC_2.2.5", "GLIBC_2.14", "GLIBC_2.34"}
        self.assertEqual(base.defined_versions(LIBRARY), has)


class Packages(unittest.TestCase):
    """What apt says."""

    def test_announcement_has_names_and_sums(self):
        """For each package."""
        names = [f"{name}_1_amd64.deb" for name in base.PACKAGES]
        lines = [f"'http://host/{name}' {name} 7 SHA256:{'0' * 64}\n" for name in names]
        self.assertEqual(base.announced("".join(lines)), dict.fromkeys(names, "0" * 64))

    def test_package_that_is_not_announced_is_an_error(self):
        """Which says what to do."""
        with self.assertRaisesRegex(base.BaseError, "apt-get update"):
            base.announced(ANNOUNCED)

    def test_only_libraries_licences_and_names_are_kept(self):
        """The rest of Debian stays where it is."""
        for path in (
            "etc/os-release",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib64/ld-linux-x86-64.so.2",
            "usr/share/doc/libc6/copyright",
            "usr/share/doc/libgcc-s1",
            "usr/share/common-licenses/GPL-3",
        ):
            self.assertTrue(base.KEPT.match(path), path)
        for path in (
            "etc/issue",
            "usr/sbin/update-ca-certificates",
            "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
            "usr/share/doc/libc6/changelog.gz",
            "etc/update-motd.d/10-uname",
        ):
            self.assertFalse(base.KEPT.match(path), path)


if __name__ == "__main__":
    unittest.main()
