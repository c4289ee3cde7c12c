"""Tests of the manifests, the chart and the seccomp profile, without a cluster."""

import json
import re
import unittest
from pathlib import Path

import image

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "control/dist"

# The manifests whose pods run on a cluster in the tests.
MANIFESTS = ("authority-deployment.yaml", "gateway-static-pod.yaml")

# Calls that reach beyond the process: other processes, devices, the kernel, namespaces.
DENIED = """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module finit_module
    fsconfig fsmount fsopen init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl
    mbind mknod mknodat mount mount_setattr move_mount move_pages name_to_handle_at
    open_by_handle_at open_tree perf_event_open personality pidfd_getfd pivot_root
    process_madvise process_vm_readv process_vm_writev ptrace quotactl reboot request_key
    setdomainname sethostname setns settimeofday swapoff swapon syslog umount umount2
    unshare userfaultfd vhangup
""".split()


class Shipped(unittest.TestCase):
    """What must agree with what."""

    def test_profile_allows_rings_and_denies_the_kernel(self):
        """Each call is named once, but for those that depend on an argument."""
        profile = json.loads((DIST / "seccomp-eyesplice.json").read_text())
        self.assertEqual(profile["defaultAction"], "SCMP_ACT_ERRNO")
        whole = [each for each in profile["syscalls"] if "args" not in each]
        allowed = [each for each in whole if each["action"] == "SCMP_ACT_ALLOW"]
        names = [name for each in whole for name in each["names"]]
        self.assertEqual(len(names), len(set(names)))
        allowed = {name for each in allowed for name in each["names"]}
        self.assertLessEqual({"io_uring_setup", "io_uring_enter", "io_uring_register"}, allowed)
        self.assertEqual(allowed & set(DENIED), set())
        partly = {name for each in profile["syscalls"] if "args" in each for name in each["names"]}
        self.assertEqual(partly, {"socket", "clone"})
        self.assertEqual(partly & allowed, set())

    def test_manifests_name_the_image_that_is_made(self):
        """With the version of Cargo.toml, which the chart has as well."""
        cargo = (ROOT / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE).group(1)
        script = (ROOT / "scripts/package").read_text()
        name = re.search(r" NAME=(\S+) ", script).group(1)
        for manifest in MANIFESTS:
            text = (DIST / manifest).read_text()
            found = re.findall(r"^ +image: (\S+)$", text, re.MULTILINE)
            self.assertEqual(found, [f"{name}:{version}"], manifest)
        chart = (DIST / "chart/Chart.yaml").read_text()
        for field in ("version", "appVersion"):
            self.assertIn(f"\n{field}: {version}\n", chart)
        self.assertIn(f"repository: {name}\n", (DIST / "chart/values.yaml").read_text())

    def test_chart_leaves_to_people_what_the_manifest_does(self):
        """Signers whose CSRs only people approve."""
        manifest = (DIST / "authority-rbac.yaml").read_text()
        found = re.search(r"resourceNames: \[(.*)\]\n  verbs: \[sign\]", manifest)
        chart = (DIST / "chart/templates/authority-rbac.yaml").read_text()
        people = re.search(r"\$people := list (.*) \}\}", chart)
        names = re.findall(r'"(\S+)"', people.group(1))
        self.assertEqual(found.group(1).split(", "), names)

    def test_pods_run_as_the_user_of_the_image(self):
        """The only one that the directories in it belong to."""
        files = [*DIST.glob("*.yaml"), *DIST.glob("chart/templates/*")]
        text = "".join(path.read_text() for path in files)
        users = set(re.findall(r"runAsUser: (\d+)", text))
        self.assertEqual(users, {str(image.USER)})


if __name__ == "__main__":
    unittest.main()
