"""What figures.py makes of results, and that the committed files say what the results say."""

import json
import tempfile
import unittest
from pathlib import Path

import figures


def proxy(name, values, failures=()):
    """An entry of a cell, with one figure in each round."""
    rounds = [{"cpu_per_gib": value} for value in values]
    return {"proxy": name, "rounds": rounds, "failures": list(failures)}


def cell(name, own, haproxy, nginx, failures=()):
    """A cell with three proxies."""
    entries = [proxy("eyesplice, x", own), proxy("haproxy, newest, x", haproxy, failures)]
    return {"name": name, "proxies": [*entries, proxy("nginx, newest, x", nginx)]}


def row(cells):
    """The row of bulk over one result with these cells."""
    machine = {"cores": 2, "cpu": "C", "kernel": "6.18.1-x"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2026-01-02-newest-y.json"
        report = {"machine": machine, "versions": {}, "cells": cells}
        path.write_text(json.dumps(report))
        return figures.Row(folder, "bulk", "newest-y", "bulk", figures.PER_GIB, ", x")


class Figures(unittest.TestCase):
    """Rows, table and plot."""

    def test_ratio_is_of_rounds_and_the_worst_cell_is_named(self):
        down = cell("bulk, down", [1.0, 9.0, 1.1], [2.0, 18.0, 2.2], [1.0, 9.0, 1.1])
        up = cell("bulk, up", [2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0])
        line = row([down, up]).line()
        self.assertEqual(line, "| bulk | 1.10 to 2.00 CPU s/GiB | 0.75 (1.00) | 1.25 (2.00) |")

    def test_failed_proxy_is_no_figure(self):
        with self.assertRaises(figures.Missing):
            row([cell("bulk", [1.0], [1.0], [1.0], ["a byte was wrong"])])

    def test_missing_cell_is_no_figure(self):
        with self.assertRaises(figures.Missing):
            row([cell("other", [1.0], [1.0], [1.0])])

    def test_version_is_that_of_the_program(self):
        versions = {"haproxy, newest": "3.2.26-1, OpenSSL 3.6.5"}
        self.assertEqual(figures.version(versions, "haproxy, newest"), "3.2")
        with self.assertRaises(figures.Missing):
            figures.version(versions, "nginx, newest")

    def test_section_between_the_marks_is_replaced_and_nothing_else(self):
        text = f"a\n{figures.BEGIN}old\n{figures.END}b\n"
        new = f"a\n{figures.BEGIN}new\n{figures.END}b\n"
        self.assertEqual(figures.replaced(text, "new\n"), new)
        with self.assertRaises(figures.Missing):
            figures.replaced("a\n", "new")

    def test_readme_and_plot_say_what_the_committed_results_say(self):
        rows = figures.rows(figures.ROOT / "bench/results")
        self.assertEqual(len(rows), 5)
        self.assertIn(figures.section(rows), (figures.ROOT / "README.md").read_text())
        plot = (figures.ROOT / "docs/performance.svg").read_text()
        self.assertEqual(plot, figures.plot(rows))


if __name__ == "__main__":
    unittest.main()
