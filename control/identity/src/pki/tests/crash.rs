//! Power cuts and full disks in the middle of every command.

use super::*;
use crate::pki::tests::faulty::{After, Faulty};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every file of the tree with its text.
pub(super) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, files: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(&dir.join("pki"), &mut files);
    files
}

/// Some hundred steps; the first, the last and every few between are enough for the order of ours.
pub(super) fn steps() -> impl Iterator<Item = usize> {
    (0..8).chain((8..).step_by(7))
}

#[test]
fn init_interrupted_at_any_step_is_all_or_nothing() {
    for after in [After::Recovery, After::Nothing] {
        for at in steps() {
            let dir = tempfile::tempdir().unwrap();
            let pki = dir.path().join("pki");
            let disk = Faulty::new(at, after);
            let source = Source::Options(Box::new(options()));
            let result = init_on(&disk, &pki, &source, false);
            if !disk.tripped() {
                result.unwrap();
                break;
            }
            result.unwrap_err();
            if pki.exists() {
                files::recover(&Os, &pki).unwrap();
            }
            let names = snapshot(dir.path());
            if !names.is_empty() {
                assert_eq!(flaws(dir.path()), [] as [String; 0], "step {at}");
            }
        }
    }
}

#[test]
fn renewal_interrupted_at_any_step_is_all_or_nothing() {
    for after in [After::Recovery, After::Nothing] {
        for at in steps() {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path()).unwrap();
            let old = snapshot(dir.path());
            let mut tree = tree(dir.path());
            let disk = Faulty::new(at, after);
            tree.disk = Box::new(std::rc::Rc::clone(&disk));
            let result = tree.renew(&Selection::All, RenewedKey::New);
            let tripped = disk.tripped();
            assert_eq!(result.is_err(), tripped, "step {at}");
            // Opening the tree recovers it; each pair fits, and each kubeconfig its pair.
            assert_eq!(flaws(dir.path()), [] as [String; 0], "step {at}");
            let new = snapshot(dir.path());
            let changed = old
                .iter()
                .filter(|(path, text)| new.get(*path) != Some(text))
                .count();
            // 19 leaves with a key each, and 7 kubeconfigs.
            let all = tree_size(&old);
            assert!(
                changed == 0 || changed == all,
                "step {at}: {changed} of {all}"
            );
            assert_eq!(old.len(), new.len(), "step {at}: something is left over");
            if !tripped {
                break;
            }
        }
    }
}

/// How many files a renewal of all replaces.
fn tree_size(files: &BTreeMap<PathBuf, String>) -> usize {
    let renewed = |path: &&PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy();
        let extension = path.extension().unwrap().to_string_lossy();
        let ca = name.ends_with("ca") || name.ends_with("ca-chain");
        !(ca || name == "sa") && extension != "yaml"
    };
    files.keys().filter(renewed).count()
}

#[test]
fn read_only_directory_changes_nothing() {
    // Not even root writes into /proc.
    let source = Source::Options(Box::new(options()));
    let error = init(Path::new("/proc/eyesplice"), &source, false).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cannot create the directory /proc/eyesplice"),
        "{text}"
    );
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn tree_that_another_command_has_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let first = tree(dir.path());
    let (sender, receiver) = std::sync::mpsc::channel();
    let pki = dir.path().join("pki");
    let second = std::thread::spawn(move || {
        sender.send(()).unwrap();
        Tree::open(&pki, None).map(drop)
    });
    receiver.recv().unwrap();
    drop(first);
    second.join().unwrap().unwrap();
}
