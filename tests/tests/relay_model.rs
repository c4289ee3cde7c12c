//! Any interleaving of writes, half-closes and resets on both legs, compared with a model: what is
//! received is a prefix of what was sent, an end is an end, and a cut is a cut.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::variant::{TCP_TLS12, TCP_TLS13, UNIX_TLS13, Variant, run};
use eyesplice_tests::wait::PATIENCE;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

/// Histories per lane.
const CASES: u32 = 300;

/// One step of one side.
#[derive(Clone, Debug)]
enum Step {
    /// Writes so much, or what there is room for.
    Write(usize),
    /// Reads all that has come by now.
    Read,
    /// Waits until all has come that the other side sent.
    Await,
    /// Ends cleanly.
    Shut,
    /// Sends FIN without close_notify, and leaves.
    Truncate,
    /// Resets the connection.
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..200).prop_map(Step::Write),
        3 => (0usize..200_000).prop_map(Step::Write),
        3 => Just(Step::Read),
        3 => Just(Step::Await),
        2 => Just(Step::Shut),
        1 => Just(Step::Truncate),
        1 => Just(Step::Reset),
    ]
}

fn history() -> impl Strategy<Value = Vec<(bool, Step)>> {
    prop::collection::vec((any::<bool>(), step()), 0..24)
}

/// How a side has ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Open,
    Clean,
    Cut,
}

/// One end, with what the model knows of it.
struct End {
    /// Absent once it has left.
    conn: Option<Conn>,
    sent: Vec<u8>,
    state: Sent,
    received: Vec<u8>,
    ending: Option<Ending>,
    rng: Rng,
    /// Left after a clean end of its own, maybe before that had arrived.
    left: bool,
}

impl End {
    fn new(conn: Conn, seed: u64) -> Self {
        Self {
            conn: Some(conn),
            sent: Vec::new(),
            state: Sent::Open,
            received: Vec::new(),
            ending: None,
            rng: Rng::new(seed),
            left: false,
        }
    }

    fn write(&mut self, amount: usize) {
        let Some(conn) = &mut self.conn else { return };
        if self.state != Sent::Open {
            return;
        }
        let bytes = self.rng.bytes(amount);
        let mut at = 0;
        while at < bytes.len() {
            // An error shows as an end of the other direction too.
            match conn.try_write(&bytes[at..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => at += n,
            }
        }
        self.sent.extend_from_slice(&bytes[..at]);
    }

    /// Reads what there is; says whether anything moved.
    fn read(&mut self) -> bool {
        let Some(conn) = &mut self.conn else {
            return false;
        };
        let mut buffer = [0; 16 * 1024];
        let mut moved = false;
        while self.ending.is_none() {
            match conn.try_read(&mut buffer) {
                Got::Data(n) => self.received.extend_from_slice(&buffer[..n]),
                Got::End(ending) => self.ending = Some(ending),
                Got::Blocked => return moved,
            }
            moved = true;
        }
        moved
    }

    /// Sends what waits, and the end behind it.
    fn push(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if conn.flush().unwrap_or(true) && self.state == Sent::Clean {
            // It may be gone already.
            let _ = conn.fin();
        }
    }

    fn shut(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if self.state == Sent::Open {
            conn.begin_shut();
            self.state = Sent::Clean;
            self.push();
        }
    }

    fn leave(&mut self, reset: bool) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        self.left = self.state == Sent::Clean;
        if self.state == Sent::Open {
            self.state = Sent::Cut;
        }
        if reset {
            conn.reset_when_closed();
        } else {
            let _ = conn.flush();
            let _ = conn.fin();
        }
    }
}

struct Lane {
    gateway: Gateway,
    variant: Variant,
    answer: Answer,
    bare: bool,
}

impl Lane {
    fn new(variant: Variant, answer: Answer, bare: bool) -> Self {
        let gateway = Gateway::with(variant, |setup| {
            setup.answer = answer;
            setup.bare = bare;
            setup.max_pipes = 2;
        });
        Self {
            gateway,
            variant,
            answer,
            bare,
        }
    }

    fn open(&self) -> [End; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let api_server = self.gateway.api_server();
        let pki = pki();
        let upstream = (self.answer != Answer::Splice).then(|| {
            Arc::new(tls::server(
                &Presented::Good.identity(pki),
                &pki.clients,
                self.variant.tls,
            ))
        });
        let accepting = std::thread::spawn(move || {
            let mut conn = Conn::new(listener.accept().unwrap().0);
            if let Some(config) = upstream {
                conn.start_server(&config).unwrap();
            }
            conn
        });
        let downstream = if self.answer == Answer::Splice {
            api_server.tunnel(&target)
        } else {
            api_server.open(&target)
        };
        [
            End::new(downstream, 1),
            End::new(accepting.join().unwrap(), 2),
        ]
    }

    fn play(&self, history: &[(bool, Step)]) -> Result<(), TestCaseError> {
        let mut ends = self.open();
        for (side, step) in history {
            let (own, other) = pair(&mut ends, *side);
            match step {
                Step::Write(amount) => own.write(*amount),
                Step::Read => drop(own.read()),
                Step::Await => await_all(own, other),
                Step::Shut => own.shut(),
                // Without TLS, FIN is a clean end.
                Step::Truncate if self.bare => own.leave(true),
                Step::Truncate => own.leave(false),
                Step::Reset => own.leave(true),
            }
        }
        finish(&mut ends);
        let anybody_cut = ends.iter().any(|end| end.state == Sent::Cut);
        let [downstream, upstream] = &ends;
        judge("downstream", downstream, upstream, anybody_cut)?;
        judge("upstream", upstream, downstream, anybody_cut)?;
        drop(ends);
        self.gateway.assert_back();
        for record in self.gateway.taken_records() {
            let clean = record.reason == Reason::Completed;
            prop_assert!(
                clean || record.reason == Reason::Reset || record.reason == Reason::Truncated,
                "{:?}",
                record
            );
        }
        Ok(())
    }
}

fn pair(ends: &mut [End; 2], downstream: bool) -> (&mut End, &mut End) {
    let [first, second] = ends;
    if downstream {
        (first, second)
    } else {
        (second, first)
    }
}

/// Lets `own` have all that `other` has sent, unless somebody has left.
fn await_all(own: &mut End, other: &mut End) {
    let deadline = Instant::now() + PATIENCE;
    while own.conn.is_some() && other.conn.is_some() && own.ending.is_none() {
        other.push();
        if own.read() {
            continue;
        }
        if own.received.len() >= other.sent.len() {
            return;
        }
        let Some(conn) = &own.conn else { return };
        let _ = conn.wait(
            true,
            false,
            Instant::now() + std::time::Duration::from_millis(1),
        );
        assert!(
            Instant::now() < deadline,
            "{} of {}",
            own.received.len(),
            other.sent.len()
        );
    }
}

/// Ends what is open, and reads everything there is to read.
fn finish(ends: &mut [End; 2]) {
    let deadline = Instant::now() + PATIENCE;
    for end in &mut *ends {
        end.shut();
    }
    loop {
        let mut moved = false;
        for end in &mut *ends {
            end.push();
            moved |= end.read();
        }
        if ends
            .iter()
            .all(|end| end.conn.is_none() || end.ending.is_some())
        {
            return;
        }
        if !moved {
            assert!(Instant::now() < deadline, "nothing moves");
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
    }
}

/// What a reader must have seen of what the other side sent.
fn judge(name: &str, own: &End, other: &End, anybody_cut: bool) -> Result<(), TestCaseError> {
    prop_assert!(
        other.sent.starts_with(&own.received),
        "{} got what was not sent",
        name
    );
    let Some(ending) = own.ending else {
        // It left before it knew.
        return Ok(());
    };
    let all = own.received.len() == other.sent.len();
    if ending == Ending::Clean {
        prop_assert!(
            all && other.state == Sent::Clean,
            "{}: a silent cut: {} of {} bytes, {:?}",
            name,
            own.received.len(),
            other.sent.len(),
            other.state
        );
    } else {
        // Who left after its own end may have taken what was still on its way with it.
        prop_assert!(
            anybody_cut || own.left || other.left,
            "{}: {:?} although nobody cut",
            name,
            ending
        );
    }
    if other.state == Sent::Cut {
        prop_assert!(ending.is_cut(), "{}: a cut looks like an end", name);
    }
    Ok(())
}

fn property(name: &str, variant: Variant, answer: Answer, bare: bool) {
    run(name, variant, |variant| {
        let lane = Lane::new(variant, answer, bare);
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new(config);
        runner
            .run(&history(), |history| lane.play(&history))
            .unwrap();
    });
}

#[test]
fn bare_streams_behave_as_the_model() {
    property(
        "bare_streams_behave_as_the_model",
        TCP_TLS13,
        Answer::Splice,
        true,
    );
}

#[test]
fn opaque_streams_behave_as_the_model() {
    property(
        "opaque_streams_behave_as_the_model",
        UNIX_TLS13,
        Answer::Opaque,
        false,
    );
}

#[test]
fn tunnelled_streams_behave_as_the_model() {
    property(
        "tunnelled_streams_behave_as_the_model",
        TCP_TLS12,
        Answer::Opaque,
        false,
    );
}
