"""What newest.py makes of results: ratios within rounds, what is missing, what targets become."""

import json
import tempfile
import unittest
from pathlib import Path

import newest

MACHINE = {"cores": 2, "cpu": "C", "kernel": "6.18.1-x", "revision": "r"}
VECTORS = ["aes", "avx2", "avx512f", "vaes", "vpclmulqdq"]


def proxy(name, values, failures=()):
    """An entry of a cell, with one figure in each round."""
    rounds = [{"cpu_per_gib": value, "cpu_us_per_operation": value} for value in values]
    return {"proxy": name, "rounds": rounds, "failures": list(failures)}


def cell(name, proxies, figure="cpu_per_gib"):
    """A cell with these proxies."""
    return {"name": name, "figure": figure, "proxies": proxies}


def result(kind, cells, features=VECTORS):
    """The result of a scenario, as it is read from a file."""
    report = {
        "title": kind,
        "machine": {**MACHINE, "features": features},
        "quiet": {"others_cores": 0.0},
        "rounds": 2,
        "seconds": 1.0,
        "versions": {"haproxy, newest": "3.2.1, OpenSSL 3.6.0"},
        "cells": cells,
    }
    with tempfile.TemporaryDirectory() as folder:
        for day in ("2026-01-01", "2026-01-02"):
            path = Path(folder) / f"{day}-{kind}.json"
            path.write_text(json.dumps(report))
        return newest.Result(folder, kind)


BULK = cell(
    "bulk, 1 connection, down",
    [
        proxy("eyesplice", [1.0, 9.0]),
        proxy("haproxy, newest", [2.0, 18.0]),
        proxy("nginx, newest", [1.25, 11.25]),
        proxy("nginx, newest, no AVX-512", [1.0, 1.0], ["a byte was wrong"]),
        proxy("bare record loop, aws-lc", [0.96, 8.64]),
    ],
)


class Newest(unittest.TestCase):
    """Ratios, tables and targets."""

    def test_newest_result_counts_and_a_missing_one_is_named(self):
        self.assertEqual(result("newest-x", [BULK]).stem, "2026-01-02-newest-x")
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(newest.Missing, "newest-x"):
                newest.Result(folder, "newest-x")

    def test_ratio_is_of_rounds_and_none_where_one_failed_or_is_absent(self):
        self.assertEqual(newest.ratio(BULK, "eyesplice", "haproxy, newest"), 0.5)
        self.assertIsNone(newest.ratio(BULK, "eyesplice", "nginx, newest, no AVX-512"))
        self.assertIsNone(newest.ratio(BULK, "eyesplice", "hitch, newest"))

    def test_comparison_has_the_columns_that_are_there(self):
        lines = newest.comparison(
            result("newest-tls-both", [BULK]), ["haproxy, newest", "hitch, newest"], "eyesplice"
        )
        self.assertEqual(lines[0], "| Work | eyesplice | haproxy, newest |")
        self.assertEqual(lines[2], "| bulk, 1 connection, down | 5.00 CPU s/GiB | 0.50 |")

    def test_target_is_met_at_the_floor_missed_or_missing(self):
        found = result("newest-tls-both", [BULK])
        target = newest.Target(
            "bulk", "newest-tls-both", "bulk", newest.newest_both(0.5),
            floor="bare record loop, aws-lc",
        )
        lines = list(newest.target_lines(target, found))
        self.assertTrue(lines[0].endswith("| haproxy, newest | 0.50 | 0.50 | 1.04 | met |"))
        self.assertTrue(lines[1].endswith("| 0.50 | 0.80 | 1.04 | at the floor |"), lines[1])
        self.assertEqual(newest.verdict(0.80, 0.5, 1.3), "**missed**")
        self.assertEqual(newest.verdict(0.80, 0.5, None), "**missed**")
        self.assertEqual(newest.verdict(None, 0.5, 1.0), "missing")

    def test_processor_without_avx_512_has_no_targets_with_it(self):
        plain = result("newest-tls-both", [BULK], ["aes", "avx2"])
        self.assertFalse(plain.vectors)
        self.assertIn("missing", "\n".join(newest.head([plain])))
        with_it = {target.own for target in newest.targets(True)}
        self.assertIn("eyesplice, ring", with_it)
        works = [target.work for target in newest.targets(False)]
        self.assertNotIn("TLS to TLS, bulk, 16 connections", works)

    def test_page_has_each_scenario_versions_and_targets(self):
        shakes = [
            proxy("eyesplice, X25519", [1.0]),
            proxy("nginx, newest, X25519", [2.0]),
        ]
        cells = {
            "newest-handshakes": cell("full handshakes", shakes, "cpu_per_operation"),
        }
        results = [result(kind, [cells.get(kind, BULK)]) for kind in newest.SCENARIOS]
        page = newest.page(results)
        self.assertIn("| haproxy, newest | 3.2.1, OpenSSL 3.6.0 |", page)
        self.assertIn("| full handshakes | 1.0 CPU µs | 0.50 |", page)
        self.assertIn("| full handshakes, X25519 | full handshakes | nginx, newest, X25519 |", page)


if __name__ == "__main__":
    unittest.main()
