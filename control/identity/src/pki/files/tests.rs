//! Changes that are interrupted at every step.

use super::*;
use crate::pki::disk::Os;
use crate::pki::tests::faulty::{After, Faulty};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const OLD: [(&str, &str); 3] = [("a.crt", "old a"), ("etcd/b.key", "old b"), ("gone", "old")];
const NEW_STATE: [(&str, &str); 3] = [
    ("a.crt", "new a"),
    ("etcd/b.key", "new b"),
    ("etcd/deep/c.crt", "new c"),
];

fn old() -> Change {
    let file = |(name, text): (&str, &str)| File::public(name.to_owned(), text.to_owned());
    Change {
        files: OLD.into_iter().map(file).collect(),
        remove: Vec::new(),
    }
}

fn new() -> Change {
    let file =
        |(name, text): (&str, &str)| File::secret(name.to_owned(), Zeroizing::new(text.to_owned()));
    Change {
        files: NEW_STATE.into_iter().map(file).collect(),
        remove: vec!["gone".to_owned(), "never-there".to_owned()],
    }
}

fn state(dir: &Path) -> Vec<(String, String)> {
    let mut names = Vec::new();
    list(dir, Path::new(""), 0, &mut names).unwrap();
    names.sort();
    let read = |name: &PathBuf| {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        (name.display().to_string(), text)
    };
    names.iter().map(read).collect()
}

fn owned(state: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    state.iter().map(owned).collect()
}

#[test]
fn change_interrupted_at_every_step_is_all_or_nothing() {
    for after in [After::Recovery, After::Nothing] {
        let (mut before, mut behind) = (0, 0);
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            apply(&Os, dir.path(), &old()).unwrap();
            let disk = Faulty::new(at, after);
            let result = apply(&disk, dir.path(), &new());
            if !disk.tripped() {
                result.unwrap();
                assert_eq!(state(dir.path()), owned(&NEW_STATE));
                break;
            }
            let error = result.unwrap_err();
            let unchanged = matches!(error, FileError::Io { .. });
            if unchanged && after == After::Recovery {
                assert_eq!(state(dir.path()), owned(&OLD), "step {at}: {error}");
            }
            recover(&Os, dir.path()).unwrap();
            let expected = if unchanged {
                owned(&OLD)
            } else {
                owned(&NEW_STATE)
            };
            assert_eq!(state(dir.path()), expected, "step {at}: {error}");
            if unchanged {
                before += 1;
            } else {
                behind += 1;
            }
        }
        assert!(before >= 5 && behind >= 5, "{before} {behind}");
    }
}

#[test]
fn recovery_interrupted_at_every_step_is_repeated() {
    for crash in 0.. {
        let dir = tempfile::tempdir().unwrap();
        apply(&Os, dir.path(), &old()).unwrap();
        // The last thing that goes well is the commit.
        let commit = (0..).find(|at| {
            let dir = tempfile::tempdir().unwrap();
            apply(&Os, dir.path(), &old()).unwrap();
            let error = apply(&Faulty::new(*at, After::Nothing), dir.path(), &new()).unwrap_err();
            matches!(error, FileError::Unfinished { .. })
        });
        let disk = Faulty::new(commit.unwrap(), After::Nothing);
        apply(&disk, dir.path(), &new()).unwrap_err();
        let disk = Faulty::new(crash, After::Nothing);
        let result = recover(&disk, dir.path());
        recover(&Os, dir.path()).unwrap();
        assert_eq!(state(dir.path()), owned(&NEW_STATE), "step {crash}");
        if !disk.tripped() {
            return result.unwrap();
        }
    }
}

#[test]
fn secret_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    apply(&Os, dir.path(), &new()).unwrap();
    let mode = |name: &str| {
        fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("etcd/b.key") & 0o777, 0o600);
    assert_eq!(mode("etcd") & 0o777, 0o700);
    assert!(
        !format!("{:?}", new()).contains("new b"),
        "a secret is printed"
    );
}

#[test]
fn directory_in_the_way_of_a_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a.crt/x")).unwrap();
    let error = apply(&Os, dir.path(), &new()).unwrap_err();
    assert!(
        error.to_string().contains("a.crt; nothing was changed"),
        "{error}"
    );
    assert_eq!(state(dir.path()), []);
}

#[test]
fn lock_keeps_others_out_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let first = crate::pki::disk::Lock::take(dir.path()).unwrap();
    let path = dir.path().to_owned();
    let second = std::thread::spawn(move || crate::pki::disk::Lock::take(&path).map(drop));
    // The waiting side polls; it gets the lock whenever we let it go.
    drop(first);
    second.join().unwrap().unwrap();
}
