//! Which library protects records: what was asked for, what this processor has, and what a short
//! measurement says.
//!
//! aws-lc's AES-GCM is the faster one where it may use AVX-512, and the slower one elsewhere.

use crate::limits::CALIBRATION_ROUNDS;
use eyesplice_proto::tls::{RecordLibrary, Trial};
use std::time::{Duration, Instant};

/// What protects the records of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CryptoPolicy {
    /// What is faster here.
    #[default]
    Auto,
    /// This, be it faster or not.
    Fixed(RecordLibrary),
}

/// What was chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// It protects the records.
    pub library: RecordLibrary,
    /// The reason.
    pub why: Why,
}

/// Why a library was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Why {
    /// The configuration names it.
    #[display("configured")]
    Configured,
    /// The build has no other.
    #[display("this build has no other: the feature aws-lc was left out")]
    Alone,
    /// The processor has not all of AVX-512F, AVX-512BW, VAES and VPCLMULQDQ.
    #[display("the processor has not all of AVX-512F, AVX-512BW, VAES and VPCLMULQDQ")]
    NoAvx512,
    /// The processor has them, and this was measured.
    #[display(
        "the processor has AVX-512 and VAES; a record of 16 KiB is sealed and opened in {} ns with \
         aws-lc and {} ns with ring",
        aws_lc.as_nanos(),
        ring.as_nanos()
    )]
    Measured {
        /// To seal and open a full record of AES-128-GCM with ring.
        ring: Duration,
        /// The same with aws-lc.
        aws_lc: Duration,
    },
}

/// Chooses. Under [`CryptoPolicy::Auto`] this may take a millisecond.
pub fn choose(policy: CryptoPolicy) -> Choice {
    let (library, why) = match (policy, RecordLibrary::aws_lc()) {
        (CryptoPolicy::Fixed(library), _) => (library, Why::Configured),
        (CryptoPolicy::Auto, None) => (RecordLibrary::Ring, Why::Alone),
        (CryptoPolicy::Auto, Some(_)) if !has_avx512() => (RecordLibrary::Ring, Why::NoAvx512),
        (CryptoPolicy::Auto, Some(other)) => {
            let (ring, aws_lc) = measure(RecordLibrary::Ring, other);
            faster(ring, aws_lc, other)
        }
    };
    Choice { library, why }
}

fn faster(ring: Duration, aws_lc: Duration, other: RecordLibrary) -> (RecordLibrary, Why) {
    // With less the choice would change from start to start, and short records are ring's.
    let library = if aws_lc < ring * 9 / 10 {
        other
    } else {
        RecordLibrary::Ring
    };
    (library, Why::Measured { ring, aws_lc })
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// The best time of each, in turns: other work on the machine makes a round longer, never shorter.
fn measure(one: RecordLibrary, other: RecordLibrary) -> (Duration, Duration) {
    let mut trials = [one, other].map(|library| (Trial::new(library), Duration::MAX));
    for _ in 0..CALIBRATION_ROUNDS {
        for (trial, best) in &mut trials {
            let began = Instant::now();
            trial.round();
            *best = began.elapsed().min(*best);
        }
    }
    let [(_, one), (_, other)] = trials;
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_library_is_chosen_whatever_is_faster() {
        for library in RecordLibrary::BUILT {
            let choice = choose(CryptoPolicy::Fixed(*library));
            assert_eq!((choice.library, choice.why), (*library, Why::Configured));
        }
    }

    #[test]
    fn faster_library_is_chosen_and_ring_unless_it_is_slower_by_a_tenth() {
        let other = *RecordLibrary::BUILT.last().unwrap();
        let us = Duration::from_micros;
        assert_eq!(faster(us(100), us(89), other).0, other);
        for slower in [90, 100, 200] {
            assert_eq!(faster(us(100), us(slower), other).0, RecordLibrary::Ring);
        }
    }

    #[test]
    fn automatic_choice_is_ring_where_the_processor_or_the_build_has_no_other() {
        let choice = choose(CryptoPolicy::Auto);
        match choice.why {
            Why::Alone => assert_eq!(RecordLibrary::aws_lc(), None),
            Why::NoAvx512 => assert!(!has_avx512()),
            Why::Measured { ring, aws_lc } => {
                assert!(has_avx512());
                let faster = aws_lc < ring * 9 / 10;
                assert_eq!(choice.library != RecordLibrary::Ring, faster);
            }
            Why::Configured => panic!("nothing is configured"),
        }
        if matches!(choice.why, Why::Alone | Why::NoAvx512) {
            assert_eq!(choice.library, RecordLibrary::Ring);
        }
    }
}
