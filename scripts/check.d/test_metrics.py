"""Tests of metrics.py."""

import json
import unittest

import metrics

REFERENCE = """
| Metric | Type | Labels | Meaning |
|---|---|---|---|
| `eyesplice_streams_live` | gauge |  | Streams |
| `eyesplice_stream_duration_seconds` | histogram | `action`, `mode` | How long |
| `eyesplice_dials_total` | counter | `reason` | Dials |
"""

TESTED = """
- name: Down
  promql_expr_test:
  - {expr: 'x', eval_time: 1m, exp_samples: []}
  - expr: 'x'
    exp_samples:
    - {labels: 'ALERTS{alertname="Down"}', value: 1}
- name: nothing
"""

class Metrics(unittest.TestCase):
    """What is found."""

    def setUp(self):
        """The metrics that there are."""
        self.known = metrics.reference(REFERENCE)

    def test_names_that_are_shown_are_good(self):
        """Samples of histograms, and stars, too."""
        for text in (
            "eyesplice_streams_live > 1",
            "rate(eyesplice_stream_duration_seconds_bucket[5m])",
            "`eyesplice_stream_duration_seconds_count`",
            "`eyesplice_dials_*` count",
            "EYESPLICE_TEST_IO and eyesplice-load",
        ):
            self.assertEqual(metrics.wrong_names(text, self.known), [], text)

    def test_names_that_nothing_shows_are_found(self):
        """A counter without its ending is none."""
        text = "eyesplice_dials + eyesplice_streams_lives + eyesplice_other_* + process_cpu"
        wanted = ["eyesplice_dials", "eyesplice_other_*", "eyesplice_streams_lives", "process_cpu"]
        self.assertEqual(metrics.wrong_names(text, self.known), wanted)

    def test_labels_are_those_of_the_metric(self):
        """And those that Prometheus adds; values are no labels."""
        text = 'eyesplice_dials_total{reason="a=b,c",job=~"x"} eyesplice_dials_total{cause!="x"}'
        self.assertEqual(metrics.wrong_labels(text, self.known), ["eyesplice_dials_total{cause}"])
        text = 'eyesplice_stream_duration_seconds_bucket{le="1",mode="x"}'
        text += " eyesplice_dials_total{reason}"
        self.assertEqual(metrics.wrong_labels(text, self.known), [])

    def test_alerts_need_both_tests(self):
        """One that fires, one that does not."""
        self.assertEqual(metrics.untested("  - alert: Down\n", TESTED), [])
        self.assertEqual(metrics.untested("  - alert: Other\n", TESTED), ["Other"])
        never = TESTED.replace("exp_samples: []", "exp_samples: [x]")
        self.assertEqual(metrics.untested("  - alert: Down\n", never), ["Down"])

    def test_dashboards_are_read_by_their_expressions(self):
        """Wherever they are."""
        board = {"panels": [{"targets": [{"expr": "a"}]}], "templating": {"list": [{"query": "b"}]}}
        texts = {
            metrics.REFERENCE: REFERENCE,
            metrics.ALERTS: "",
            metrics.TESTS: "",
            metrics.DASHBOARD: json.dumps(board).replace('"a"', '"eyesplice_no"'),
        }
        wanted = [f"{metrics.DASHBOARD}: no process shows eyesplice_no"]
        self.assertEqual(metrics.problems(texts), wanted)


if __name__ == "__main__":
    unittest.main()
