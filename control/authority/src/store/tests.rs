//! The store: revisions, events, serial numbers, faults.

use super::super::testing::{Site, csr};
use super::*;
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::kubelet_client;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

fn object(name: &str) -> CertificateSigningRequest {
    csr(name, Signer::KubeletClient, "u", "g", kubelet_client("w"))
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn add(store: &Store, name: &str) -> Object {
    store
        .create(object(name), |_| Ok::<_, StoreError>(Vec::new()))
        .unwrap()
}

fn delete(store: &Store, name: &str) {
    store
        .update(name, |_| Ok::<_, StoreError>(Change::Delete))
        .unwrap();
}

fn label(store: &Store, name: &str, value: &str) -> Object {
    let change = |current: &CertificateSigningRequest| {
        let mut new = current.clone();
        new.metadata.labels.insert("l".to_owned(), value.to_owned());
        Ok::<_, StoreError>(Change::Put(new))
    };
    store.update(name, change).unwrap()
}

#[test]
fn everything_survives_a_reopening() {
    let site = Site::new();
    let store = site.store();
    add(&store, "a");
    add(&store, "b");
    let b = label(&store, "b", "1");
    delete(&store, "a");
    let before = store.list();
    drop(store);
    let store = site.store();
    let after = store.list();
    assert_eq!(after.revision, before.revision);
    assert_eq!(after.objects, vec![b]);
    let mode = std::fs::metadata(site.path("authority.redb"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn revisions_grow_with_each_change_and_stand_in_the_objects() {
    let site = Site::new();
    let store = site.store();
    let first = store.list().revision;
    let a = add(&store, "a");
    assert_eq!(a.metadata.resource_version, (first + 1).to_string());
    let kept = store
        .update("a", |_| Ok::<_, StoreError>(Change::Keep))
        .unwrap();
    assert_eq!(kept, a);
    let a = label(&store, "a", "1");
    assert_eq!(a.metadata.resource_version, (first + 2).to_string());
    assert_eq!(store.list().revision, first + 2);
}

#[test]
fn names_are_unique_and_must_exist() {
    let site = Site::new();
    let store = site.store();
    add(&store, "a");
    let twice = store.create(object("a"), |_| Ok::<_, StoreError>(Vec::new()));
    assert!(matches!(twice, Err(StoreError::Exists { .. })));
    let none = store.update("b", |_| Ok::<_, StoreError>(Change::Delete));
    assert!(matches!(none, Err(StoreError::Missing { .. })));
}

#[test]
fn events_tell_what_happened_since_a_revision() {
    let site = Site::new();
    let store = site.store();
    let start = store.list().revision;
    add(&store, "a");
    label(&store, "a", "1");
    delete(&store, "a");
    let events = store.events_after(start).unwrap();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Added, EventKind::Modified, EventKind::Deleted]
    );
    let last = &events[2];
    assert_eq!(
        last.object.metadata.resource_version,
        last.revision.to_string()
    );
    assert_eq!(store.events_after(start + 2).unwrap().len(), 1);
    assert!(store.events_after(start + 3).unwrap().is_empty());
}

#[test]
fn events_that_are_not_kept_are_too_old() {
    let site = Site::new();
    let store = site.store();
    let start = store.list().revision;
    add(&store, "a");
    drop(store);
    let store = site.store();
    let oldest = start + 1;
    assert_eq!(
        store.events_after(start).unwrap_err(),
        TooOld {
            asked: start,
            oldest
        }
    );
    assert!(store.events_after(oldest).is_ok());

    let mut history = History::new(10);
    for revision in 11..=20 {
        let event = Event::new(revision, Some(Arc::new(object("x"))), None).unwrap();
        history.push(Arc::new(event), 4);
    }
    assert_eq!(
        history.after(15).unwrap_err(),
        TooOld {
            asked: 15,
            oldest: 16
        }
    );
    assert_eq!(history.after(16).unwrap().len(), 4);
}

#[test]
fn serial_number_is_taken_once_and_a_second_try_changes_nothing() {
    let site = Site::new();
    let store = site.store();
    add(&store, "a");
    add(&store, "b");
    let sign = |name: &str| {
        store.update(name, |current| {
            let mut object = current.clone();
            object.status.certificate.0 = b"x".to_vec();
            Ok::<_, StoreError>(Change::Sign {
                object,
                serial: vec![1, 2, 3],
                not_after: now(),
                holder: None,
            })
        })
    };
    sign("a").unwrap();
    let before = store.list();
    let error = sign("b").unwrap_err();
    assert!(
        matches!(&error, StoreError::SerialUsed { serial } if serial == "010203"),
        "{error}"
    );
    assert_eq!(store.list().objects, before.objects);
    drop(store);
    let store = site.store();
    assert_eq!(store.list().objects, before.objects, "nor on disk");
}

#[test]
fn serial_numbers_of_expired_certificates_are_forgotten() {
    let site = Site::new();
    let store = site.store();
    add(&store, "a");
    let end = now().time();
    let change = |current: &CertificateSigningRequest| {
        Ok::<_, StoreError>(Change::Sign {
            object: current.clone(),
            serial: vec![7],
            not_after: Timestamp::new(end),
            holder: None,
        })
    };
    store.update("a", change).unwrap();
    store.compact(Timestamp::new(end)).unwrap();
    assert_eq!(store.serials().len(), 1);
    store
        .compact(Timestamp::new(end + time::Duration::seconds(1)))
        .unwrap();
    assert!(store.serials().is_empty());
}

#[test]
fn second_process_is_refused_by_name() {
    let site = Site::new();
    let _store = site.store();
    let error = Store::open(&site.path("authority.redb"), now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("is in use by another process"), "{error}");
}

#[test]
fn file_that_is_no_store_is_refused_and_left_alone() {
    let site = Site::new();
    let path = site.path("authority.redb");
    std::fs::write(&path, "precious notes, and no store at all").unwrap();
    let error = Store::open(&path, now()).unwrap_err().to_string();
    assert!(error.contains("cannot open the store"), "{error}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "precious notes, and no store at all");
    let missing = Store::open(&site.path("no/such/dir.redb"), now()).unwrap_err();
    assert!(matches!(missing, StoreError::File { .. }), "{missing}");
}

#[test]
fn compaction_gives_back_what_deleted_objects_took() {
    let site = Site::new();
    let store = site.store();
    let big = |name: &str| {
        let mut object = object(name);
        let text = "x".repeat(200_000);
        object.metadata.annotations.insert("a".to_owned(), text);
        object
    };
    for index in 0..60 {
        store
            .create(big(&format!("n{index}")), |_| {
                Ok::<_, StoreError>(Vec::new())
            })
            .unwrap();
    }
    for index in 0..60 {
        delete(&store, &format!("n{index}"));
    }
    let size = || {
        std::fs::metadata(site.path("authority.redb"))
            .unwrap()
            .len()
    };
    let before = size();
    store.compact(now()).unwrap();
    assert!(size() < before / 2, "{before} to {}", size());
    add(&store, "after");
}
