//! The loop of `--keep`, on a clock that tests turn: years pass in no time.

use super::*;
use eyesplice_identity::pem::{FileRef, Role};
use eyesplice_identity::pki::testing::{Made, Recipe, authority, client};
use std::cell::{Cell, RefCell};
use std::fs;
use std::rc::Rc;
use tempfile::TempDir;
use time::Duration as Span;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The lifetime of the server's certificates.
const LIFE: Span = Span::hours(100);

/// A server that gives what is asked for, or is down.
struct World {
    dir: TempDir,
    options: Options,
    ca: Made,
    start: Instant,
    /// When the test began, by the wall clock.
    epoch: OffsetDateTime,
    /// How far the node's clock has jumped.
    jump: Cell<Span>,
    /// How far the server's has.
    server_jump: Cell<Span>,
    down: Cell<bool>,
    asked: RefCell<Vec<(Duration, &'static str)>>,
}

impl World {
    fn new() -> Rc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            server: "https://127.0.0.1:1".to_owned(),
            node: "w".to_owned(),
            token_file: dir.path().join("token"),
            ca_file: Some(dir.path().join("ca.crt")),
            ca_pin: None,
            dir: dir.path().join("node"),
            timeout: Duration::from_secs(60),
        };
        Rc::new(Self {
            dir,
            options,
            ca: authority("kubernetes").self_signed(),
            start: Instant::now(),
            epoch: OffsetDateTime::now_utc(),
            jump: Cell::default(),
            server_jump: Cell::default(),
            down: Cell::default(),
            asked: RefCell::default(),
        })
    }

    fn true_time(&self) -> OffsetDateTime {
        self.epoch + self.start.elapsed()
    }

    fn clock(&self) -> SystemTime {
        (self.true_time() + self.jump.get()).into()
    }

    /// What a server does, with a clock of its own.
    fn serve(&self, plan: &Plan, proof: &Proof) -> Result<Obtained, BootstrapError> {
        let by = match proof {
            Proof::Certificate(_) => "certificate",
            Proof::Token => "token",
        };
        self.asked.borrow_mut().push((self.start.elapsed(), by));
        if self.down.get() {
            return Err(BootstrapError::Network(
                plan.endpoint.to_string(),
                std::io::ErrorKind::ConnectionRefused.into(),
            ));
        }
        let now = self.true_time() + self.server_jump.get();
        let made = Recipe {
            organizations: vec!["system:nodes"],
            not_before: now - Span::minutes(5),
            not_after: now + LIFE,
            ..client("system:node:w")
        }
        .signed_by(&self.ca);
        let trusted = Trusted {
            roots: self.ca.roots(),
            certificates: vec![self.ca.der()],
        };
        let issued = Issued {
            certificate: made.certificate.pem(),
            key: Zeroizing::new(made.key.serialize_pem()),
            spki: rcgen::PublicKeyData::subject_public_key_info(&made.key),
        };
        Ok((trusted, issued))
    }

    /// Lets the loop run for so long.
    async fn pass(self: &Rc<Self>, time: Span) {
        let world = Rc::clone(self);
        let obtain = async |plan: &Plan, proof: Proof| world.serve(plan, &proof);
        let work = work(&self.options, || self.clock(), obtain);
        let time = Duration::try_from(time).unwrap();
        assert!(tokio::time::timeout(time, work).await.is_err(), "for ever");
    }

    fn asked_by(&self) -> Vec<&'static str> {
        self.asked.borrow().iter().map(|(_, by)| *by).collect()
    }

    fn pair(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("node").join(PAIR)).unwrap()
    }

    fn leaf(&self) -> CertificateFacts {
        Plan::new(&self.options).unwrap().current().unwrap().leaf
    }
}

#[tokio::test(start_paused = true)]
async fn certificate_is_renewed_with_itself_at_its_point_between_70_and_90_percent() {
    let world = World::new();
    world.pass(Span::hours(1000)).await;
    let asked = world.asked.borrow();
    assert_eq!(asked[0], (Duration::ZERO, "token"));
    // Each renewal comes 70 to 90 hours after the last: at least 11, at most 14 of them.
    assert!((12..=15).contains(&asked.len()), "{asked:?}");
    for pair in asked.windows(2) {
        let hours = (pair[1].0 - pair[0].0).as_secs_f64() / 3600.0;
        assert!((69.9..=90.2).contains(&hours), "{hours}: {asked:?}");
        assert_eq!(pair[1].1, "certificate");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_see_whole_pairs_alone_while_they_are_replaced() {
    let world = World::new();
    world.pass(Span::hours(1)).await;
    let path = world.dir.path().join("node").join(PAIR);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    let reader = || {
        let mut reads = 0;
        while !stop.load(order) {
            let file = FileRef::new("pair", &path);
            // Key and certificate are in one file: it is opened twice, once for each.
            let pair = fs::read(&path).unwrap();
            let copy = tempfile::NamedTempFile::new().unwrap();
            fs::write(copy.path(), pair).unwrap();
            let copied = FileRef::new("pair", copy.path());
            pem::Credential::load(copied.clone(), &copied, Role::Client)
                .unwrap_or_else(|error| panic!("{file:?}: {error}"));
            reads += 1;
        }
        reads
    };
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(reader);
        let plan = Plan::new(&world.options).unwrap();
        for _ in 0..200 {
            let (trusted, issued) = world.serve(&plan, &Proof::Token).unwrap();
            plan.store(&trusted, &issued).unwrap();
        }
        stop.store(true, order);
        reader.join().unwrap()
    });
    assert!(reads > 0);
}

#[tokio::test(start_paused = true)]
async fn server_that_is_down_is_tried_less_and_less_and_the_old_pair_stays() {
    let world = World::new();
    world.pass(Span::hours(1)).await;
    let before = world.pair();
    world.down.set(true);
    world.pass(Span::hours(98)).await;
    assert_eq!(world.pair(), before, "nothing is taken away");
    let asked = world.asked.borrow().clone();
    let tries: Vec<_> = asked.iter().skip(1).collect();
    assert!(tries.iter().all(|(_, by)| *by == "certificate"));
    let gaps: Vec<f64> = tries
        .windows(2)
        .map(|t| (t[1].0 - t[0].0).as_secs_f64())
        .collect();
    for (gap, least) in gaps.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0, 32.0]) {
        assert!(
            (least..=least * 1.5 + 0.01).contains(gap),
            "{gap} for {least}"
        );
    }
    // The jitter: no two waits are the same.
    let mut millis: Vec<u64> = gaps[4..].iter().map(|gap| (gap * 1000.0) as u64).collect();
    millis.sort_unstable();
    millis.dedup();
    assert!(millis.len() > gaps.len() / 4, "{}", millis.len());

    // It comes back after the certificate ended: only the token helps then.
    world.pass(Span::hours(2)).await;
    assert_eq!(world.asked_by().last(), Some(&"token"));
    world.down.set(false);
    let tries = world.asked_by().len();
    world.pass(Span::hours(1)).await;
    assert_eq!(
        world.asked_by().len(),
        tries + 1,
        "one try, then it is good"
    );
    assert_ne!(world.pair(), before);
}

#[tokio::test(start_paused = true)]
async fn clock_that_jumps_over_the_end_asks_with_the_token_once() {
    let world = World::new();
    world.pass(Span::hours(1)).await;
    // The server's clock jumped, too: a node that slept.
    world.jump.set(Span::days(365));
    world.server_jump.set(Span::days(365));
    world.pass(Span::hours(2)).await;
    assert_eq!(world.asked_by(), ["token", "token"]);
    // Back again: the new certificate begins in a year, and the server is left alone.
    world.jump.set(Span::ZERO);
    let before = world.pair();
    world.pass(Span::hours(2)).await;
    assert_eq!(world.asked_by(), ["token", "token"]);
    assert_eq!(world.pair(), before);
    let mut nobody = async |_: &Plan, _| panic!("nobody is asked");
    let error = look(&world.options, world.clock(), &mut nobody);
    let error = error.await.unwrap_err();
    assert_eq!(error.cause(), "clock", "{error}");
    // Set right, all is well without a request.
    world.jump.set(Span::days(365));
    world.pass(Span::hours(1)).await;
    assert_eq!(world.asked_by(), ["token", "token"]);
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_ahead_of_the_server_asks_no_more_than_the_backoff_allows() {
    let world = World::new();
    world.jump.set(Span::days(365));
    world.pass(Span::hours(1)).await;
    // Every certificate that comes has ended, by this clock; it is kept, for the clock may be wrong.
    let most = 3600 / 32 + 5;
    assert!(world.asked_by().len() <= most, "{}", world.asked_by().len());
    world.jump.set(Span::ZERO);
    let tries = world.asked_by().len();
    world.pass(Span::hours(1)).await;
    assert_eq!(world.asked_by().len(), tries);
    assert!(matches!(
        next(&world.leaf(), world.clock().into()),
        Next::Wait(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn pair_that_was_deleted_or_spoilt_is_asked_for_within_the_hour() {
    let world = World::new();
    world.pass(Span::hours(1)).await;
    let path = world.dir.path().join("node").join(PAIR);
    fs::remove_file(&path).unwrap();
    world.pass(Span::minutes(61)).await;
    assert_eq!(world.asked_by(), ["token", "token"]);
    fs::write(&path, "half a pai").unwrap();
    world.pass(Span::minutes(61)).await;
    assert_eq!(world.asked_by(), ["token", "token", "token"]);
}

#[test]
fn full_disk_asks_for_nothing_and_keeps_the_pair() {
    // The disk is in a namespace of one thread; so is the loop.
    eyesplice_identity::testing::SmallDisk::run("full disk under bootstrap", 512 << 10, |disk| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = Rc::into_inner(World::new()).unwrap();
            world.options.dir = disk.path().join("node");
            let world = Rc::new(world);
            world.pass(Span::hours(1)).await;
            let pair = disk.path().join("node").join(PAIR);
            let before = fs::read(&pair).unwrap();
            for read_only in [false, true] {
                let filled = (!read_only).then(|| disk.fill());
                disk.read_only(read_only);
                let asked = world.asked_by().len();
                world.pass(Span::hours(95)).await;
                assert_eq!(world.asked_by().len(), asked, "read-only: {read_only}");
                assert_eq!(fs::read(&pair).unwrap(), before);
                disk.read_only(false);
                drop(filled);
                let names = fs::read_dir(disk.path().join("node")).unwrap().count();
                assert_eq!(names, 3, "nothing half-written stays");
            }
            world.pass(Span::hours(1)).await;
            assert_eq!(world.asked_by(), ["token", "token"]);
            assert_ne!(fs::read(&pair).unwrap(), before);
        });
    });
}
