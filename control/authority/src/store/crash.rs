//! Kill -9 in the middle of CSR handling: after it each CSR is in a legal state, nothing that was
//! acknowledged is lost, and no serial number is there twice.
//!
//! The child is this test binary itself, running `work_until_killed` on the directory that the
//! environment names. It creates and deletes while the real controller approves, denies and signs,
//! and prints each step once it was acknowledged.

use super::super::controller::Controller;
use super::super::material::AuthorityMaterial;
use super::super::object::{APPROVED, DENIED, FAILED};
use super::super::testing::{Site, csr};
use super::*;
use crate::config::{AuthorityConfig, Document};
use arc_swap::ArcSwap;
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::{dns, kubelet_client, kubelet_serving};
use eyesplice_process::metrics::Metrics;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names the directory of the child's authority.
const DIR: &str = "EYESPLICE_TEST_CRASH_DIR";
/// Tells the child's names from those of its predecessors.
const ROUND: &str = "EYESPLICE_TEST_CRASH_ROUND";

/// How often the child is killed.
const KILLS: u32 = 60;
/// Objects that the child leaves alive.
const ALIVE: usize = 12;
/// Objects that the child's controller may be behind.
const BEHIND: usize = 3;
/// The child is killed after at most so many of its lines, and then up to two milliseconds later.
const MOST_LINES: u32 = 40;
const MOST_DELAY_US: u32 = 2000;

fn random(below: u32) -> u32 {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes) % below
}

/// The child of the test of kills; by itself it has nothing to do.
#[test]
fn work_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let round = std::env::var(ROUND).expect("run by its parent");
    let config = AuthorityConfig::load(&dir.join("authority.yaml"))
        .unwrap()
        .config;
    let loaded = AuthorityMaterial::load(config, SystemTime::now());
    let (material, _) = loaded.unwrap().state;
    let now = Timestamp::from(SystemTime::now());
    let store = Arc::new(Store::open(&dir.join("authority.redb"), now).unwrap());
    let material = Arc::new(ArcSwap::from_pointee(material));
    let mut controller = Controller::new(Arc::clone(&store), material, None, Metrics::new());
    std::thread::spawn(move || {
        loop {
            controller.turn(SystemTime::now()).unwrap();
        }
    });
    let mut told = HashSet::new();
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "@{line}").unwrap();
        out.flush().unwrap();
    };
    for index in 0_u64.. {
        // The store lists by name: the oldest comes first.
        let name = format!("r{round}-{index:06}");
        let object = match index % 3 {
            0 => csr(
                &name,
                Signer::KubeletClient,
                "system:node:w",
                "system:nodes",
                kubelet_client("w"),
            ),
            1 => {
                let ask = kubelet_serving("w", vec![dns("w")]);
                csr(
                    &name,
                    Signer::KubeletServing,
                    "system:node:w",
                    "system:nodes",
                    ask,
                )
            }
            _ => {
                let ask = kubelet_serving("w", vec![dns("foreign.example")]);
                csr(
                    &name,
                    Signer::KubeletServing,
                    "system:node:w",
                    "system:nodes",
                    ask,
                )
            }
        };
        store
            .create(object, |_| Ok::<_, StoreError>(Vec::new()))
            .unwrap();
        say(format!("created {name}"));
        // The controller writes through the same lock: it gets its turn.
        let unfinished = |object: &&Object| object.is_pending() || object.awaits_signature();
        while store.list().objects.iter().filter(unfinished).count() > BEHIND {
            std::thread::yield_now();
        }
        let objects = store.list().objects;
        for object in &objects {
            let issued = !object.status.certificate.is_empty();
            if issued && told.insert(object.metadata.name.clone()) {
                let serial = serial_of(object);
                say(format!("issued {} {serial}", object.metadata.name));
            }
        }
        for object in objects.iter().take(objects.len().saturating_sub(ALIVE)) {
            let name = &object.metadata.name;
            say(format!("deleting {name}"));
            store
                .update(name, |_| Ok::<_, StoreError>(Change::Delete))
                .unwrap();
            say(format!("deleted {name}"));
        }
    }
}

fn serial_of(object: &CertificateSigningRequest) -> String {
    let der = CertificateDer::pem_slice_iter(&object.status.certificate.0).next();
    let der = der.unwrap().unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    hex(certificate.raw_serial())
}

/// Without the byte that DER puts before a set sign bit, and without leading zeros.
fn hex(serial: &[u8]) -> String {
    let digits: Vec<u8> = serial
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    data_encoding::HEXLOWER.encode(&digits)
}

/// What the child said of an object.
#[derive(Clone, Debug, Default)]
struct Said {
    issued: Option<String>,
    deleting: bool,
    deleted: bool,
}

struct Killed {
    lines: usize,
}

/// Runs the child until it is killed, and notes what it acknowledged.
fn run_and_kill(site: &Site, round: u32, said: &mut HashMap<String, Said>) -> Killed {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::crash::work_until_killed", "--nocapture"])
        .env(DIR, site.dir.path())
        .env(ROUND, format!("{round:04}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = 0;
    let enough = 1 + random(MOST_LINES) as usize;
    while heard < enough {
        let line = lines.next().expect("the child ended by itself").unwrap();
        heard += usize::from(note(&line, said));
    }
    let later = Instant::now() + Duration::from_micros(random(MOST_DELAY_US).into());
    while Instant::now() < later {
        std::hint::spin_loop();
    }
    kill(&mut child);
    // What it said before it died counts, too; a line that was cut does not.
    for line in lines.map_while(Result::ok) {
        heard += usize::from(note(&line, said));
    }
    Killed { lines: heard }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn note(line: &str, said: &mut HashMap<String, Said>) -> bool {
    // The test harness prints in front of the first line.
    let Some((_, line)) = line.split_once('@') else {
        return false;
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["created", name] => {
            said.entry(name.to_owned()).or_default();
        }
        ["issued", name, serial] if serial.len() >= 16 => {
            said.entry(name.to_owned()).or_default().issued = Some(serial.to_owned());
        }
        ["deleting", name] => said.entry(name.to_owned()).or_default().deleting = true,
        ["deleted", name] => said.entry(name.to_owned()).or_default().deleted = true,
        _ => {}
    }
    true
}

fn check_legal(object: &CertificateSigningRequest, revision: u64) {
    let name = &object.metadata.name;
    let (approved, denied) = (object.has(APPROVED), object.has(DENIED));
    assert!(!(approved && denied), "{name} is approved and denied");
    assert!(
        !object.has(FAILED),
        "{name} failed, though nothing of it is wrong"
    );
    let issued = !object.status.certificate.is_empty();
    assert!(
        !issued || approved,
        "{name} has a certificate and no approval"
    );
    assert!(
        object.status.conditions.len() <= 1,
        "{name}: {:?}",
        object.status.conditions
    );
    let own: u64 = object.metadata.resource_version.parse().unwrap();
    assert!(
        own <= revision,
        "{name} is from revision {own}, the store at {revision}"
    );
}

#[test]
fn kill_at_any_point_loses_nothing_and_uses_no_serial_twice() {
    let site = Site::new();
    let mut said: HashMap<String, Said> = HashMap::new();
    // Who has which serial number, over all rounds.
    let mut owners: HashMap<String, String> = HashMap::new();
    let (mut revision, mut lines) = (0, 0);
    for round in 0..KILLS {
        lines += run_and_kill(&site, round, &mut said).lines;
        let store = site.store();
        let listing = store.list();
        assert!(
            listing.revision >= revision,
            "the revision went back in round {round}"
        );
        revision = listing.revision;
        let used: HashSet<String> = store.serials().iter().map(|serial| hex(serial)).collect();
        let mut there = HashMap::new();
        for object in &listing.objects {
            check_legal(object, revision);
            let name = object.metadata.name.clone();
            if !object.status.certificate.is_empty() {
                let serial = serial_of(object);
                assert!(
                    used.contains(&serial),
                    "{name}: its serial number is not noted"
                );
                let owner = owners.entry(serial.clone()).or_insert_with(|| name.clone());
                assert_eq!(*owner, name, "serial number {serial} is used twice");
            }
            there.insert(name, Arc::clone(object));
        }
        for (name, said) in &said {
            if let Some(serial) = &said.issued {
                let owner = owners.entry(serial.clone()).or_insert_with(|| name.clone());
                assert_eq!(owner, name, "serial number {serial} is used twice");
            }
            match there.get(name) {
                None => assert!(said.deleting, "{name} is lost in round {round}"),
                Some(object) => {
                    assert!(!said.deleted, "{name} is back in round {round}");
                    if let Some(serial) = &said.issued {
                        assert_eq!(*serial, serial_of(object), "{name} was signed again");
                    }
                }
            }
        }
        // What is gone stays gone: the next rounds need not look at it.
        said.retain(|name, _| there.contains_key(name));
    }
    assert!(
        owners.len() as u32 >= KILLS,
        "only {} certificates in {lines} steps",
        owners.len()
    );
}
