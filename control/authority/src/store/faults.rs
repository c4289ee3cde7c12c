//! Disks that fail: at every operation of a run of changes, because they are full or because the
//! power goes; and files that somebody cut or changed.
//!
//! The disk is in memory. It keeps what was synced apart from what was only written, so that after a
//! power cut any part of the latter may be there.

use super::super::testing::{Site, csr};
use super::*;
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::kubelet_client;
use redb::StorageBackend;
use std::io::{self, ErrorKind};
use std::time::SystemTime;

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing can be written until there is room; reading goes on.
    Full,
    /// A write takes its room only in part before there is no more.
    FullInTheMiddle,
    /// Everything ends, in the middle of a write.
    PowerCut,
}

#[derive(Debug, Default)]
struct Platter {
    /// What a power cut leaves in any case.
    synced: Vec<u8>,
    /// What programs read.
    now: Vec<u8>,
    /// What was done since the last sync.
    since: Vec<Done>,
    /// Operations until the fault.
    left: Option<(u64, Fault)>,
    /// Operations in all.
    count: u64,
}

#[derive(Clone, Debug)]
enum Done {
    Length(u64),
    Write(u64, Vec<u8>),
}

impl Done {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(usize::try_from(*length).unwrap(), 0),
            Self::Write(offset, bytes) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[start..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Platter {
    fn change(&mut self, done: Done) -> io::Result<()> {
        let fault = self.step();
        let done = match (fault, &done) {
            (None, _) => done,
            (Some(Fault::Full), _) | (Some(_), Done::Length(_)) => return Err(error(fault)),
            (Some(_), Done::Write(offset, bytes)) => {
                Done::Write(*offset, bytes[..bytes.len() / 2].to_vec())
            }
        };
        done.apply(&mut self.now);
        self.since.push(done);
        match fault {
            None => Ok(()),
            fault => Err(error(fault)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.step() {
            None => {
                self.synced.clone_from(&self.now);
                self.since.clear();
                Ok(())
            }
            fault => Err(error(fault)),
        }
    }

    /// Counts one operation; after a power cut every one fails, and a full disk stays full.
    fn step(&mut self) -> Option<Fault> {
        self.count += 1;
        let (left, fault) = self.left.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        Some(*fault)
    }

    fn is_dead(&self) -> bool {
        matches!(self.left, Some((0, Fault::PowerCut)))
    }

    /// What is there after the power came back: of what was not synced, what `seed` says.
    fn survivors(&self, seed: u64) -> Vec<u8> {
        let mut left = self.synced.clone();
        for (index, done) in self.since.iter().enumerate() {
            let bits = seed.rotate_right(u32::try_from(index % 64).unwrap());
            if bits & 1 == 1 {
                done.apply(&mut left);
            }
        }
        left
    }
}

fn error(fault: Option<Fault>) -> io::Error {
    match fault {
        Some(Fault::PowerCut) => io::Error::other("the power is gone"),
        _ => io::Error::from(ErrorKind::StorageFull),
    }
}

/// A disk that is shared by all who open it.
#[derive(Clone, Debug, Default)]
struct Broken(Arc<Mutex<Platter>>);

impl Broken {
    fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.platter().now.clone_from(&bytes);
        disk.platter().synced = bytes;
        disk
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn fail_after(&self, operations: u64, fault: Fault) {
        self.platter().left = Some((operations, fault));
    }

    fn heal(&self) {
        self.platter().left = None;
    }

    fn store(&self) -> Result<Store, StoreError> {
        Store::on(Box::new(self.clone()), now())
    }
}

impl Disk for Broken {
    fn open(&self) -> Result<Database, StoreError> {
        Database::on(Ok(self.clone()), &self.path())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("disk in memory")
    }
}

impl StorageBackend for Broken {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        if platter.is_dead() {
            return Err(error(Some(Fault::PowerCut)));
        }
        let start = usize::try_from(offset).unwrap();
        let bytes = platter.now.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.platter().change(Done::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.platter().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.platter().change(Done::Write(offset, data.to_vec()))
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn object(name: &str) -> CertificateSigningRequest {
    csr(name, Signer::KubeletClient, "u", "g", kubelet_client("w"))
}

/// A change as server and controller make it: it may be tried again.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create(&'static str),
    Label(&'static str),
    Sign(&'static str, u8),
    Delete(&'static str),
    Compact,
}

const STEPS: [Step; 9] = [
    Step::Create("a"),
    Step::Create("b"),
    Step::Sign("a", 1),
    Step::Label("b"),
    Step::Delete("a"),
    Step::Compact,
    Step::Create("c"),
    Step::Sign("c", 2),
    Step::Sign("b", 3),
];

/// Names, labels and certificates of everything.
type Seen = Vec<(String, bool, Vec<u8>)>;

fn seen(store: &Store) -> Seen {
    let objects = store.list().objects;
    let one = |object: &Object| {
        let labelled = object.metadata.labels.contains_key("l");
        let certificate = object.status.certificate.0.clone();
        (object.metadata.name.clone(), labelled, certificate)
    };
    objects.iter().map(one).collect()
}

impl Step {
    fn run(self, store: &Store) -> Result<(), StoreError> {
        let change = |current: &CertificateSigningRequest| {
            let mut object = current.clone();
            Ok::<_, StoreError>(match self {
                Self::Label(_) => {
                    object
                        .metadata
                        .labels
                        .insert("l".to_owned(), "x".to_owned());
                    Change::Put(object)
                }
                Self::Sign(_, serial) => {
                    if !object.status.certificate.is_empty() {
                        return Ok(Change::Keep);
                    }
                    object.status.certificate.0 = vec![serial];
                    Change::Sign {
                        object,
                        serial: vec![serial],
                        not_after: Timestamp::new(now().time() + time::Duration::days(1)),
                        holder: None,
                    }
                }
                Self::Delete(_) => Change::Delete,
                Self::Create(_) | Self::Compact => Change::Keep,
            })
        };
        match self {
            Self::Create(name) => store.create(object(name), |_| Ok(Vec::new())).map(drop),
            Self::Label(name) | Self::Sign(name, _) | Self::Delete(name) => {
                store.update(name, change).map(drop)
            }
            Self::Compact => store.compact(now()),
        }
    }

    /// A client that tries again learns that its first try was the one.
    fn again(self, store: &Store) {
        match (self, self.run(store)) {
            (_, Ok(()))
            | (Self::Create(_), Err(StoreError::Exists { .. }))
            | (Self::Delete(_), Err(StoreError::Missing { .. })) => {}
            (_, Err(error)) => panic!("{self:?}: {error}"),
        }
    }
}

/// What is there before and after each step of a run without faults, and how many operations the
/// run takes.
fn good_run() -> (Vec<Seen>, u64) {
    let disk = Broken::default();
    let store = disk.store().unwrap();
    let before = disk.platter().count;
    let mut states = vec![seen(&store)];
    for step in STEPS {
        step.run(&store).unwrap();
        states.push(seen(&store));
    }
    let count = disk.platter().count - before;
    (states, count)
}

#[test]
fn full_disk_at_any_operation_keeps_what_was_and_goes_on_when_there_is_room() {
    let (states, count) = good_run();
    assert!(
        count > 40,
        "{count} operations are too few to mean anything"
    );
    for fault in [Fault::Full, Fault::FullInTheMiddle] {
        for at in 0..count {
            let disk = Broken::default();
            let store = disk.store().unwrap();
            disk.fail_after(at, fault);
            let mut failed = 0;
            for (index, step) in STEPS.into_iter().enumerate() {
                if let Err(error) = step.run(&store) {
                    failed += 1;
                    let opened = matches!(error, StoreError::Disk { .. } | StoreError::Open { .. });
                    assert!(opened, "{fault:?} {at} {step:?}: {error}");
                    // Readers see what was acknowledged, as often as they ask, and nothing else.
                    assert_eq!(seen(&store), states[index], "{fault:?} {at} {step:?}");
                    assert!(step.run(&store).is_err(), "it is still full");
                    assert_eq!(seen(&store), states[index], "{fault:?} {at} {step:?}");
                    disk.heal();
                    step.again(&store);
                }
                assert_eq!(seen(&store), states[index + 1], "{fault:?} {at} {step:?}");
            }
            assert!(failed <= 1, "{fault:?} {at}");
            // Each signature once, whatever was tried twice.
            assert_eq!(store.serials(), [[1], [2], [3]], "{fault:?} {at}");
            let revision = store.list().revision;
            drop(store);
            disk.heal();
            let store = disk.store().unwrap();
            assert_eq!(seen(&store), states[STEPS.len()], "{fault:?} {at}");
            assert_eq!(store.list().revision, revision);
        }
    }
}

#[test]
fn power_cut_at_any_operation_leaves_the_state_before_or_after_the_change() {
    let (states, count) = good_run();
    // None of what was not synced, all of it, and parts.
    let seeds = [
        0,
        u64::MAX,
        0x5555_5555_5555_5555,
        0xAAAA_AAAA_AAAA_AAAA,
        0x9E37_79B9_7F4A_7C15,
    ];
    for at in 0..count {
        let disk = Broken::default();
        let store = disk.store().unwrap();
        disk.fail_after(at, Fault::PowerCut);
        let done = STEPS
            .iter()
            .take_while(|step| step.run(&store).is_ok())
            .count();
        drop(store);
        for seed in seeds {
            let left = disk.platter().survivors(seed);
            let store = Broken::holding(left).store();
            let store = store.unwrap_or_else(|error| panic!("{at} {seed:x}: {error:?}"));
            let got = seen(&store);
            let after = states.get(done + 1).unwrap_or(&states[done]);
            assert!(
                got == states[done] || got == *after,
                "cut at {at}, {seed:x}, after {done} steps: {got:?}"
            );
            // It works on.
            for step in &STEPS[done.min(STEPS.len())..] {
                step.again(&store);
            }
            assert_eq!(seen(&store), states[STEPS.len()], "{at} {seed:x}");
        }
    }
}

#[test]
fn power_cut_while_the_store_is_made_leaves_nothing_in_the_way_of_the_next_try() {
    let disk = Broken::default();
    drop(disk.store().unwrap());
    let count = disk.platter().count;
    let site = Site::new();
    let (path, fresh) = (site.path("authority.redb"), site.path("authority.redb.new"));
    for at in 0..count {
        let disk = Broken::default();
        disk.fail_after(at, Fault::PowerCut);
        // The last operations come after the store is open: it closes.
        drop(disk.store());
        for seed in [0, u64::MAX, 0x5555_5555_5555_5555] {
            std::fs::write(&fresh, disk.platter().survivors(seed)).unwrap();
            let store = Store::open(&path, now());
            assert!(store.is_ok(), "{at} {seed:x}: {store:?}");
            assert!(path.exists() && !fresh.exists(), "{at} {seed:x}");
            drop(store);
            std::fs::remove_file(&path).unwrap();
        }
    }
}

/// The bytes of a store with some objects that was closed.
fn closed() -> (Vec<u8>, Seen) {
    let disk = Broken::default();
    let store = disk.store().unwrap();
    for step in STEPS {
        step.run(&store).unwrap();
    }
    let all = seen(&store);
    drop(store);
    let bytes = disk.platter().now.clone();
    (bytes, all)
}

#[test]
fn file_that_was_cut_is_refused_and_left_alone() {
    let site = Site::new();
    let path = site.path("authority.redb");
    let (bytes, _) = closed();
    for keep in [1, 100, 512, 4095, 4096, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let error = Store::open(&path, now()).unwrap_err().to_string();
        assert!(error.contains("authority.redb"), "{keep}: {error}");
        let after = std::fs::read(&path).unwrap();
        assert!(after == bytes[..keep], "{keep}: the file was changed");
    }
}

#[test]
fn file_with_foreign_bytes_is_refused_or_read_as_it_was() {
    let (bytes, all) = closed();
    let mut refused = 0;
    for block in 0..bytes.len() / 512 {
        let mut changed = bytes.clone();
        let at = block * 512;
        for byte in &mut changed[at..at + 512] {
            *byte ^= 0xff;
        }
        match Broken::holding(changed).store() {
            Ok(store) => assert_eq!(seen(&store), all, "block {block}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no block matters");
}
