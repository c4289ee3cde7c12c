"""Each unit exposes little: `systemd-analyze security` gives it less than 1.5."""

import shutil
import subprocess
import unittest
from pathlib import Path

DIST = Path(__file__).resolve().parents[2] / "control/dist"

# In tenths: the command fails above it.
THRESHOLD = 14


class Units(unittest.TestCase):
    """The units that are shipped."""

    def test_exposure_of_each_unit_is_under_1_5(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("SKIPPED: unit exposure: there is no systemd-analyze here")
        units = sorted(DIST.glob("*.service"))
        self.assertGreaterEqual(len(units), 4)
        for unit in units:
            with self.subTest(unit=unit.name):
                command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
                command += [f"--threshold={THRESHOLD}", unit]
                judged = subprocess.run(command, capture_output=True, text=True, check=False)
                last = judged.stdout.strip().splitlines()[-1:]
                self.assertEqual(judged.returncode, 0, f"{last} {judged.stderr}")


if __name__ == "__main__":
    unittest.main()
