"""What profile.py makes of what perf and the harness say."""

import unittest

import profile

# Two samples of a proxy in the words of `perf script -F pid,ip,sym,dso`, and one of somebody else.
SAMPLES = """
 4711
\tffffffff81a2b3c4 _copy_to_iter ([kernel.kallsyms])
\tffffffff81a2b000 tcp_recvmsg ([kernel.kallsyms])
\t    55d0c0ffee00 <eyesplice::Leg as core::fmt::Display>::fmt (/opt/a proxy/eyesplice)

 4711/4712
\t    7f0000001000 [unknown] (/usr/lib/libcrypto.so.3)

  99
\tffffffff81a2b3c4 schedule ([guest.kernel.kallsyms])
"""

STAT = """\
1200;;syscalls:sys_enter_recvfrom;2000;100.00;;
600;;syscalls:sys_enter_sendto;2000;100.00;;
<not counted>;;syscalls:sys_enter_splice;0;100.00;;
# started on a Monday
"""


def report(figure, failures=(), **done):
    """A report of the harness with one cell, one proxy and one round."""
    return {"cells": [{"name": "a cell", "figure": figure, "proxies": [{"failures": list(failures), "rounds": [done]}]}]}


class Samples(unittest.TestCase):
    def test_each_has_its_process_its_side_and_its_chain(self):
        self.assertEqual(
            list(profile.samples(SAMPLES)),
            [
                (4711, True, ["_copy_to_iter", "tcp_recvmsg", "<eyesplice::Leg as core::fmt::Display>::fmt"]),
                (4711, False, ["(no symbol) libcrypto.so.3"]),
                (99, True, ["schedule"]),
            ],
        )

    def test_one_without_a_chain_is_none(self):
        self.assertEqual(list(profile.samples(" 4711\n\n")), [])


class Purpose(unittest.TestCase):
    def test_the_innermost_function_that_is_known_decides(self):
        self.assertEqual(profile.purpose(["_copy_to_iter", "tcp_recvmsg", "main"]), "copies between user and kernel")
        self.assertEqual(profile.purpose(["something", "tcp_ack", "tcp_v4_rcv"]), "acknowledgements")

    def test_what_is_in_no_list_is_the_proxys_own(self):
        self.assertEqual(profile.purpose(["eyesplice::relay::pump", "main"]), "the proxy and its libraries, else")

    def test_ring_with_its_version_is_cryptography(self):
        self.assertEqual(profile.purpose(["ring_core_0_17_14__aes_gcm_enc_update_vaes_avx2"]), "cryptography")
        self.assertEqual(profile.purpose(["ring_core_0_17_14__x25519_fe_mul"]), "cryptography")
        self.assertEqual(profile.purpose(["__ecp_nistz256_mul_montx", "eyesplice::relay::pump"]), "cryptography")
        self.assertEqual(profile.purpose(["fe_loose_invert"]), "cryptography")

    def test_a_name_counts_from_its_beginning(self):
        self.assertEqual(profile.purpose(["my_tcp_ack"]), "the proxy and its libraries, else")


class Rates(unittest.TestCase):
    def test_are_of_a_second_and_of_what_was_counted(self):
        rates = profile.rates(STAT)
        self.assertEqual(rates, {"recvfrom": 1200 / profile.CALLS_S, "sendto": 600 / profile.CALLS_S})

    def test_of_probes_lose_the_name_of_their_group(self):
        self.assertEqual(list(profile.rates("8;;eyesplice_77:malloc;1;100.00;;")), ["malloc"])

    def test_are_told_for_each_piece_of_work_without_the_rare_ones(self):
        done = profile.Figure(9.0, "CPU µs/operation", 300.0, "operation")
        self.assertEqual(profile.each(profile.rates(STAT), done), "recvfrom 2.00, sendto 1.00")
        rare = profile.Figure(9.0, "CPU µs/operation", 1e6, "operation")
        self.assertEqual(profile.each(profile.rates(STAT), rare), "none")


class Figures(unittest.TestCase):
    def test_of_bulk_work_are_per_gib(self):
        figure = profile.figure(report("cpu_per_gib", cpu_per_gib=0.5, gib_per_second=2.0))
        self.assertEqual(figure.text(), "0.500 CPU s/GiB, 2.00 GiB/s")
        self.assertEqual((figure.rate, figure.per, figure.part(0.25)), (2048.0, "MiB", "0.1250"))

    def test_of_messages_are_per_operation(self):
        figure = profile.figure(report("cpu_per_operation", cpu_us_per_operation=8.0, operations_per_second=1000.0))
        self.assertEqual(figure.text(), "8.0 CPU µs/operation, 1000 operations/s")
        self.assertEqual((figure.rate, figure.per, figure.part(0.25)), (1000.0, "operation", "2.00"))

    def test_of_a_turn_with_failures_are_none(self):
        with self.assertRaisesRegex(SystemExit, "a cell: a byte is wrong"):
            profile.figure(report("cpu_per_gib", ["a byte is wrong"], cpu_per_gib=0.5, gib_per_second=2.0))


class Library(unittest.TestCase):
    def test_is_found_among_the_mappings(self):
        maps = "00-01 r--p 00 fe:00 1    /usr/bin/x\n01-02 r-xp 00 fe:00 2    /usr/lib/libc.so.6\n02-03 rw-p 00 00:00 0 \n"
        self.assertEqual(profile.library(maps), "/usr/lib/libc.so.6")

    def test_that_is_missing_is_said(self):
        with self.assertRaisesRegex(SystemExit, "no C library"):
            profile.library("02-03 rw-p 00 00:00 0 [heap]\n")


class Report(unittest.TestCase):
    def cell(self, others=0):
        cell = profile.Cell(("splice", "eyesplice", "bulk"))
        cell.figures = [profile.Figure(cost, "CPU s/GiB", 1024.0, "MiB") for cost in (0.3, 0.1, 0.2)]
        cell.purposes.update({"splice and pipes": 750, "epoll": 245, "rare": 5})
        cell.symbols.update({("do_splice", True): 750, ("pump", False): 245, ("rare", False): 5})
        cell.kernel, cell.others, cell.counts = 750, others, "System calls per MiB: splice 2.00.\n"
        return cell

    def test_has_the_median_and_each_purposes_part_of_it(self):
        text = self.cell().section()
        self.assertIn("0.200 CPU s/GiB, 1.00 GiB/s while sampled, the median of 0.3, 0.1, 0.2.", text)
        self.assertIn("| splice and pipes | 75.0 % | 0.1500 |", text)
        self.assertIn("| `pump` | user | 24.5 % |", text)
        self.assertIn("75.0 % are in the kernel", text)
        self.assertNotIn("rare", text)

    def test_warns_where_others_had_the_core(self):
        whole = profile.HERTZ * profile.SAMPLES_S * 3
        self.assertNotIn("do not trust", self.cell(int(profile.NOISY * whole)).section())
        self.assertIn("do not trust", self.cell(int(profile.NOISY * whole) + 1).section())

    def test_cuts_a_symbol_that_is_longer_than_a_line(self):
        self.assertEqual(profile.short("pump::h0123456789abcdef"), "pump")
        self.assertEqual(len(profile.short("x" * 200)), profile.LONGEST)


if __name__ == "__main__":
    unittest.main()
