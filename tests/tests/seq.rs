//! 10,000 runs of `seq` both ways through exec-shaped streams, with slow readers, short writes, half
//! closes and cuts: what arrives is byte-exact with a clean end, or a prefix with a cut. Never a
//! silent cut.
//!
//! A failure prints its seed; `EYESPLICE_SEQ_SEED=n` repeats that run alone, `EYESPLICE_SEQ_RUNS=n`
//! changes their number.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Reason, RecordKind};
use eyesplice_tests::api_server::{ApiServer, Request, name_of};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{MOST_PIECES, Pace, break_off, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{read_head, read_reply};
use eyesplice_tests::kubelet::{Kubelet, switching};
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::variant::{
    TCP_TLS12, TCP_TLS13, UNIX_TLS12, UNIX_TLS13, Variant, ktls_policy, run,
};
use eyesplice_tests::wait::eventually;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Runs in all.
const RUNS: u64 = 10_000;

/// Runs at the same time.
const CROWD: u64 = 16;

/// Longest output of one run in bytes: more than all buffers on the way hold, now and then.
const LONGEST: usize = 512 << 10;

/// Who leaves without an end, if somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nobody,
    Client,
    Kubelet,
}

/// What one run does; a function of its seed, so that both ends know it.
struct Plan {
    seed: u64,
    cut: Cut,
    /// Where the one who leaves does.
    at: usize,
    reset: bool,
    rekey: bool,
}

impl Plan {
    fn new(seed: u64, rekey: bool, reset_only: bool) -> Self {
        let mut rng = Rng::new(seed);
        let cut = match rng.below(10) {
            0 => Cut::Client,
            1 => Cut::Kubelet,
            _ => Cut::Nobody,
        };
        Self {
            seed,
            cut,
            at: rng.draw() as usize,
            reset: reset_only || rng.one_in(2),
            rekey: rekey && rng.one_in(4),
        }
    }

    /// What a side says: `seq FIRST LAST`.
    fn text(&self, side: Cut) -> Vec<u8> {
        let mut rng = Rng::new(self.seed ^ side as u64);
        let bytes = rng.length(LONGEST);
        let mut text = String::with_capacity(bytes + 16);
        let mut number = rng.below(1_000_000);
        while text.len() < bytes {
            writeln!(text, "{number}").unwrap();
            number += 1;
        }
        text.into_bytes()
    }

    fn pace(&self, side: Cut, bytes: usize) -> Pace {
        let pace = Pace::uneven(self.seed ^ (7 + side as u64), bytes);
        if self.rekey { pace.rekeying() } else { pace }
    }

    /// Plays one side of the run, and judges what it saw.
    fn play(&self, conn: &mut Conn, own: Cut, other: Cut) {
        let (input, expected) = (self.text(own), self.text(other));
        let bytes = input.len().max(expected.len());
        let mut rng = Rng::new(self.seed ^ (13 + own as u64));
        if rng.one_in(3) {
            conn.shrink(1 << (12 + rng.below(4)));
        }
        if rng.one_in(3) {
            let max = rng.length(8192).max(bytes / MOST_PIECES);
            conn.chop(max, rng);
        }
        if self.cut == own {
            let part = &input[..self.at % input.len()];
            break_off(conn, part, self.pace(own, bytes));
            if self.reset {
                conn.reset_when_closed();
            } else {
                // The last records may wait for a reader that has gone.
                let _ = conn.flush();
                let _ = conn.fin();
            }
            return;
        }
        let seen = converse(conn, &input, self.pace(own, bytes));
        let (got, seed) = (&seen.received, self.seed);
        assert!(
            expected.starts_with(got),
            "seed {seed}: {own:?} got {} bytes that were not sent so (cut: {:?})",
            got.len(),
            self.cut
        );
        if self.cut == Cut::Nobody {
            assert_eq!(
                (got.len(), seen.ending, seen.sent),
                (expected.len(), Ending::Clean, true),
                "seed {seed}: {own:?}"
            );
            conn.drain();
        } else {
            assert!(seen.ending.is_cut(), "seed {seed}: {own:?}: a silent cut");
        }
    }
}

/// One gateway, and how its streams are carried.
struct Lane {
    name: &'static str,
    variant: Variant,
    answer: Answer,
    /// Both legs are bare sockets.
    bare: bool,
}

const LANES: [Lane; 6] = [
    Lane {
        name: "terminate",
        variant: UNIX_TLS13,
        answer: Answer::Kubelet,
        bare: false,
    },
    Lane {
        name: "terminate TLS 1.2",
        variant: UNIX_TLS12,
        answer: Answer::Kubelet,
        bare: false,
    },
    Lane {
        name: "terminate TLS in TLS",
        variant: TCP_TLS13,
        answer: Answer::Kubelet,
        bare: false,
    },
    Lane {
        name: "splice",
        variant: UNIX_TLS13,
        answer: Answer::Splice,
        bare: false,
    },
    Lane {
        name: "splice out of TLS",
        variant: TCP_TLS12,
        answer: Answer::Splice,
        bare: false,
    },
    Lane {
        name: "splice bare",
        variant: TCP_TLS13,
        answer: Answer::Splice,
        bare: true,
    },
];

impl Lane {
    /// Whether TLS goes through untouched, from one fake to the other.
    fn through(&self) -> bool {
        self.answer == Answer::Splice && !self.bare
    }

    fn plan(&self, seed: u64) -> Plan {
        // Kernel TLS cannot follow a key update before Linux 6.14.
        let rekey = self.variant.tls.version == rustls::ProtocolVersion::TLSv1_3
            && !self.bare
            && ktls_policy() == KtlsPolicy::Off;
        Plan::new(seed, rekey, self.bare)
    }

    fn kubelet(&'static self) -> Kubelet {
        let pki = pki();
        let identity = Presented::Good.identity(pki);
        let config = (!self.bare).then(|| tls::server(&identity, &pki.clients, self.variant.tls));
        Kubelet::with(config, move |conn, _| {
            let Ok(head) = read_head(conn) else { return };
            let seed = head.target().rsplit('=').next().unwrap().parse().unwrap();
            if conn.write_all(switching(&head).as_bytes()).is_ok() {
                self.plan(seed).play(conn, Cut::Kubelet, Cut::Client);
            }
        })
    }

    fn one(&self, api_server: &ApiServer, target: &str, seed: u64) {
        let mut conn = if self.answer == Answer::Kubelet {
            api_server.open(target)
        } else {
            api_server.tunnel(target)
        };
        if self.through() {
            let pki = pki();
            let config = tls::client(Some(&pki.api_server), &pki.kubelets, self.variant.tls);
            conn.start_client(&Arc::new(config), name_of(target))
                .unwrap();
        }
        let path = format!("/exec/default/web/app?command=seq&command={seed}");
        let request = Request::new("POST", &path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "SPDY/3.1");
        request.send(&mut conn);
        let reply =
            read_reply(&mut conn, "POST").unwrap_or_else(|why| panic!("seed {seed}: {why:?}"));
        assert_eq!(reply.head.status(), 101, "seed {seed}");
        self.plan(seed).play(&mut conn, Cut::Client, Cut::Kubelet);
    }

    fn run(&'static self, seeds: impl Iterator<Item = u64>) {
        let gateway = Gateway::with(self.variant, |setup| {
            setup.answer = self.answer;
            setup.bare = self.bare;
            setup.max_pipes = 4;
        });
        let kubelet = self.kubelet();
        let (target, api_server) = (kubelet.target(), gateway.api_server());
        let seeds: Vec<u64> = seeds.collect();
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CROWD {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, SeqCst) as usize) {
                        self.one(&api_server, &target, *seed);
                    }
                });
            }
        });
        kubelet.finish();
        gateway.assert_back();
        let clean = seeds
            .iter()
            .filter(|seed| self.plan(**seed).cut == Cut::Nobody)
            .count();
        self.assert_records(&gateway, seeds.len(), clean);
    }

    /// Each run has one record, and only those without a cut ended well.
    fn assert_records(&self, gateway: &Gateway, runs: usize, clean: usize) {
        let mut ended = Vec::new();
        eventually(
            || {
                let records = gateway.taken_records();
                ended.extend(
                    records
                        .into_iter()
                        .filter(|record| record.kind == RecordKind::End),
                );
                (ended.len() >= runs).then_some(())
            },
            || "a record of every run".into(),
        );
        assert_eq!(ended.len(), runs, "{}", self.name);
        let completed = ended
            .iter()
            .filter(|record| record.reason == Reason::Completed);
        let completed = completed.count();
        if self.through() {
            // FIN is an end to who does not read what goes through; the far end knows better.
            assert!(completed >= clean, "{}: {completed} < {clean}", self.name);
        } else {
            assert_eq!(completed, clean, "{}", self.name);
        }
        for record in ended {
            let expected = matches!(
                record.reason,
                Reason::Completed | Reason::Reset | Reason::Truncated
            ) || (record.reason == Reason::CutUnseen && self.through());
            assert!(expected, "{}: {record:#?}", self.name);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn ten_thousand_runs_are_exact_or_cut() {
    let (first, runs) = match number("EYESPLICE_SEQ_SEED") {
        Some(seed) => (seed, LANES.len() as u64),
        None => (1, number("EYESPLICE_SEQ_RUNS").unwrap_or(RUNS)),
    };
    let lanes = LANES.len() as u64;
    for (index, lane) in (0..).zip(&LANES) {
        run(lane.name, lane.variant, |_| {
            let seeds = match number("EYESPLICE_SEQ_SEED") {
                // The run belongs to one lane.
                Some(seed) if seed % lanes != index => return,
                Some(seed) => seed..seed + 1,
                None => first..first + runs,
            };
            lane.run(seeds.filter(|seed| seed % lanes == index));
        });
    }
}
