//! Tests kernel TLS against records made by hand, where the kernel has it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod by_hand;
mod harness;
mod setup;
mod suites;
mod traps;

use std::process::ExitCode;

use eyesplice_sys::ktls::{Cipher, Version};

use by_hand::Direction;
use harness::{Case, Outcome};

type Test = fn(Direction) -> Outcome;

/// Names the tests of a module.
macro_rules! tests {
    ($module:ident: $($test:ident),+ $(,)?) => {
        &[$((stringify!($test), $module::$test)),+]
    };
}

const EACH_SUITE: &[(&str, Test)] = tests![suites:
    sent_bytes_open_by_hand,
    records_sealed_by_hand_are_received,
    spliced_bytes_pass_from_kernel_to_kernel,
    control_records_keep_their_type,
];

const ONCE: &[(&str, Test)] = tests![traps:
    probe_finds_every_suite,
    keys_without_ulp_are_refused,
    ulp_on_an_unconnected_socket_is_refused,
    ulp_after_fin_is_refused,
    second_ulp_and_second_keys_are_refused,
    bytes_pass_unchanged_between_ulp_and_keys,
    record_without_receive_keys_is_refused,
    control_record_stops_recv_and_splice_until_taken,
    fin_without_close_notify_reads_as_fin,
    fin_inside_a_record_reads_as_fin,
    close_sends_no_close_notify,
    changed_record_is_a_bad_record,
    overlong_record_is_malformed,
    control_record_larger_than_the_buffer_comes_in_parts,
    half_a_record_wakes_no_reader_that_waits_for_records,
    reset_behind_a_record_that_was_waited_for_is_no_fin,
];

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for cipher in Cipher::ALL {
            for &(name, test) in EACH_SUITE {
                cases.push(Case::new(
                    format!("{name} [{version} {cipher}]"),
                    move || test(Direction::new(version, cipher)),
                ));
            }
        }
    }
    for &(name, test) in ONCE {
        cases.push(Case::new(name, move || {
            test(Direction::new(Version::Tls13, Cipher::Aes128Gcm))
        }));
    }
    harness::main(&cases)
}
