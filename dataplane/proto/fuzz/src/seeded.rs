//! Runs fuzz bodies over pseudo-random mutations of their seeds, the same ones every time.
//!
//! It finds less than libFuzzer, which sees coverage, but needs nothing but stable Rust, so it runs
//! with the tests.

use std::panic::{self, AssertUnwindSafe};

use crate::FuzzTarget;

/// Longest input that mutation makes, in bytes: longer than every bound but the head's, which is
/// tested by itself, and short enough for a million cases.
const INPUT_BYTES: usize = 20 << 10;
/// Most mutations of one input: more make noise that the first check refuses.
const MUTATIONS: u64 = 6;

/// Pieces that matter to one parser or another.
const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\t",
    b" ",
    b":",
    b";",
    b",",
    b"_",
    b"@",
    b"%",
    b"/",
    b"..",
    b"%2f",
    b"%2e",
    b"%00",
    b"%25",
    b"\xff",
    b"\\",
    b"?",
    b"#",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"00000000",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET ",
    b"HEAD ",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Connection: X-A, host\r\n",
    b"Upgrade: h2c\r\n",
    b"Upgrade: SPDY/3.1\r\n",
    b"Upgrade: websocket\r\n",
    b"Proxy-Authorization: x\r\n",
    b"X-Remote-User: x\r\n",
    b"Trailer: x\r\n",
    b"exec",
    b"EXEC",
    b"/exec/ns/p/c",
    b"portForward",
    b"cri",
    b"127.1",
    b"0x7f",
    b"[::1]",
    b":10250",
];

/// Runs a target over its seeds and then over `cases` mutations of them, chosen by `seed` alone.
///
/// Panics as the body does, after it has printed the input that made it.
pub fn run(target: &FuzzTarget, cases: u64, seed: u64) {
    for input in target.seeds {
        check(target, input);
    }
    // Another series for each target, so that two targets with the same seeds do not share it.
    let mut random = Random(target.name.bytes().fold(seed, |mix, byte| {
        mix.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    }));
    for _ in 0..cases {
        let mut input = random.pick(target.seeds).to_vec();
        for _ in 0..=random.below(MUTATIONS) {
            mutate(&mut input, target.seeds, &mut random);
        }
        input.truncate(INPUT_BYTES);
        check(target, &input);
    }
}

fn check(target: &FuzzTarget, input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        eprintln!(
            "fuzz target {} failed on: {}",
            target.name,
            input.escape_ascii()
        );
        panic::resume_unwind(panic);
    }
}

fn mutate(input: &mut Vec<u8>, seeds: &[&[u8]], random: &mut Random) {
    let at = random.index(input.len() + 1);
    let end = at + random.index((input.len() - at).min(16) + 1);
    match random.below(8) {
        0 => drop(input.drain(at..end)),
        1 => drop(input.splice(at..at, random.pick(DICTIONARY).iter().copied())),
        2 => drop(input.splice(at..end, random.pick(DICTIONARY).iter().copied())),
        3 => input.insert(at, random.byte()),
        4 => input.truncate(at),
        5 => {
            let other = random.pick(seeds);
            let from = random.index(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 => {
            let part = input[at..end].repeat(1 << random.below(10));
            drop(input.splice(at..at, part));
        }
        _ => {
            let byte = random.byte();
            if let Some(slot) = input.get_mut(at) {
                *slot = if byte.is_multiple_of(2) {
                    byte
                } else {
                    *slot ^ 1 << (byte >> 5)
                };
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to pick bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from.get(self.index(from.len()))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    /// Few enough for every test run; `scripts/fuzz` runs more.
    const CASES: u64 = 4_000;

    #[test]
    fn run_every_target_over_seeded_mutations_holds() {
        for target in TARGETS {
            run(target, CASES, 1);
        }
    }

    #[test]
    #[should_panic(expected = "found it")]
    fn run_body_that_fails_on_one_byte_finds_it() {
        let body = |data: &[u8]| assert!(!data.contains(&b'!'), "found it");
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let target = FuzzTarget {
            name: "test",
            seeds: &[b"abc"],
            run: body,
        };
        let found = panic::catch_unwind(|| run(&target, 100_000, 1));
        panic::set_hook(hook);
        if let Err(found) = found {
            panic::resume_unwind(found);
        }
    }
}
