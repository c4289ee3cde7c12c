"""What instructions.py takes for a step that became slower or faster."""

import unittest

import instructions


class Differences(unittest.TestCase):
    def test_within_the_tolerance_are_none(self):
        self.assertEqual(instructions.differences({"step": 10_000}, {"step": 10_500}), [])
        self.assertEqual(instructions.differences({"step": 10_000}, {"step": 9_500}), [])

    def test_beyond_it_are_told_either_way(self):
        self.assertEqual(instructions.differences({"step": 10_000}, {"step": 10_501}), ["step: 10501 instructions, +5.0% of 10000"])
        self.assertEqual(instructions.differences({"step": 10_000}, {"step": 8_000}), ["step: 8000 instructions, -20.0% of 10000"])

    def test_of_a_short_step_are_judged_in_instructions(self):
        self.assertEqual(instructions.differences({"step": 200}, {"step": 300}), [])
        self.assertEqual(len(instructions.differences({"step": 200}, {"step": 301})), 1)

    def test_name_steps_that_came_or_went(self):
        told = instructions.differences({"gone": 1}, {"new": 2})
        self.assertEqual(told, ["gone: no such step now", "new: 2, not kept yet"])


if __name__ == "__main__":
    unittest.main()
