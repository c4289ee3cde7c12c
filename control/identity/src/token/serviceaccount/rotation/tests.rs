use super::*;
use crate::token::jwt::JwkSet;
use std::os::unix::fs::PermissionsExt;

struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (key, pem) = SigningKey::generate(Algorithm::Es256).unwrap();
        fs::write(keys.path("sa.key"), pem.as_bytes()).unwrap();
        fs::write(keys.path("sa.pub"), key.public().to_pem()).unwrap();
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rotation(&self) -> Rotation {
        Rotation::new(self.path("sa.key"), self.path("sa.pub"))
    }

    fn signing(&self) -> String {
        let key = load_signing_key(&FileRef::new("f", self.path("sa.key"))).unwrap();
        key.public().kid().to_owned()
    }

    /// The trusted keys, sorted.
    fn trusted(&self) -> Vec<String> {
        let keys = load_public_keys(&FileRef::new("f", self.path("sa.pub"))).unwrap();
        let mut kids: Vec<String> = keys.iter().map(|key| key.kid().to_owned()).collect();
        kids.sort();
        kids
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

fn sorted<const N: usize>(mut kids: [String; N]) -> Vec<String> {
    kids.sort();
    kids.to_vec()
}

#[test]
fn rotation_trusts_switches_and_drops() {
    let keys = Keys::new();
    let rotation = keys.rotation();
    let first = keys.signing();
    assert_eq!(rotation.stage().unwrap(), Stage::Idle);

    let Stage::Trusted { next } = rotation.trust(Algorithm::Es384).unwrap() else {
        panic!("trusted")
    };
    assert_eq!(keys.signing(), first, "nothing is signed with it yet");
    assert_eq!(keys.trusted(), sorted([first.clone(), next.clone()]));
    let mode = |name| fs::metadata(keys.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sa.key.next"), mode("sa.pub")), (0o600, 0o644));

    let Stage::Switched { old, at } = rotation.switch(None).unwrap() else {
        panic!("switched")
    };
    assert_eq!((keys.signing(), old), (next.clone(), first.clone()));
    assert_eq!(keys.trusted(), sorted([first, next.clone()]), "both are");
    assert_eq!(mode("sa.key"), 0o600);

    let hour = Duration::from_secs(3600);
    let error = rotation.drop_old(hour, false, at + hour / 2).unwrap_err();
    assert!(matches!(error, RotationError::Early(..)), "{error}");
    assert_eq!(
        rotation.drop_old(hour, false, at + hour).unwrap(),
        Stage::Idle
    );
    assert_eq!(keys.trusted(), [next]);
    assert_eq!(keys.files(), ["sa.key", "sa.pub"]);
}

#[test]
fn rotation_is_undone_before_it_signed() {
    let keys = Keys::new();
    let rotation = keys.rotation();
    let first = keys.signing();
    rotation.trust(Algorithm::Es256).unwrap();
    assert_eq!(rotation.undo().unwrap(), Stage::Idle);
    assert_eq!(
        (keys.signing(), keys.trusted()),
        (first.clone(), vec![first])
    );
    assert_eq!(keys.files(), ["sa.key", "sa.pub"]);
}

#[test]
fn key_that_has_signed_is_never_undone_away() {
    let keys = Keys::new();
    let rotation = keys.rotation();
    let first = keys.signing();
    rotation.trust(Algorithm::Es256).unwrap();
    rotation.switch(None).unwrap();
    let second = keys.signing();
    let both = sorted([first.clone(), second.clone()]);
    let Stage::Undone { undone, at } = rotation.undo().unwrap() else {
        panic!("undone")
    };
    assert_eq!((keys.signing(), &undone), (first.clone(), &second));
    assert_eq!(keys.trusted(), both, "its tokens are about");
    let error = rotation.undo().unwrap_err().to_string();
    assert!(error.contains("switch to it again, or drop it"), "{error}");
    let error = rotation.trust(Algorithm::Es256).unwrap_err().to_string();
    assert!(error.contains("cannot begin another rotation"), "{error}");
    assert_eq!(keys.trusted(), both);

    // On again, and back again.
    let switched = rotation.switch(None).unwrap();
    assert!(matches!(switched, Stage::Switched { old, .. } if old == first));
    assert_eq!((keys.signing(), keys.trusted()), (second.clone(), both));
    rotation.undo().unwrap();

    // Away only with its last token.
    let hour = Duration::from_secs(3600);
    let error = rotation.drop_old(hour, false, at).unwrap_err();
    assert!(error.to_string().contains(&second), "{error}");
    let later = SystemTime::now() + hour;
    assert_eq!(rotation.drop_old(hour, false, later).unwrap(), Stage::Idle);
    assert_eq!(
        (keys.signing(), keys.trusted()),
        (first.clone(), vec![first])
    );
    assert_eq!(keys.files(), ["sa.key", "sa.pub"]);
}

#[test]
fn rotation_refuses_steps_out_of_turn() {
    let keys = Keys::new();
    let rotation = keys.rotation();
    let now = SystemTime::now();
    let refused = |result: Result<Stage, RotationError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, RotationError::Order { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(rotation.switch(None)).contains("no rotation is under way"));
    assert!(refused(rotation.undo()).contains("nothing to undo"));
    assert!(refused(rotation.drop_old(Duration::ZERO, true, now)).contains("no old key"));
    rotation.trust(Algorithm::Es256).unwrap();
    refused(rotation.drop_old(Duration::ZERO, true, now));
    let again = rotation.trust(Algorithm::Es256).unwrap();
    assert!(
        matches!(again, Stage::Trusted { .. }),
        "asked twice is once"
    );
    assert_eq!(keys.trusted().len(), 2);
    rotation.switch(None).unwrap();
    refused(rotation.switch(None));
    assert!(refused(rotation.trust(Algorithm::Es256)).contains("drop the old key first"));
}

#[test]
fn switch_waits_for_a_verifier_that_does_not_have_the_key() {
    let keys = Keys::new();
    let rotation = keys.rotation();
    let publish = || load_public_keys(&FileRef::new("f", keys.path("sa.pub"))).unwrap();
    let before = publish();
    rotation.trust(Algorithm::Es256).unwrap();
    let error = rotation.switch(Some(&before)).unwrap_err();
    assert!(matches!(error, RotationError::NotTrusted(_)), "{error}");
    // As another process publishes it.
    let served = serde_json::to_vec(&JwkSet::of(&publish())).unwrap();
    let served = JwkSet::parse(&served).unwrap();
    rotation.switch(Some(&served)).unwrap();
}

#[test]
fn step_that_was_cut_off_is_done_again() {
    // Trust: the key was written, its public half was not.
    let keys = Keys::new();
    let first = keys.signing();
    let (next, pem) = SigningKey::generate(Algorithm::Es256).unwrap();
    let next = next.public().kid().to_owned();
    fs::write(keys.path("sa.key.next"), pem.as_bytes()).unwrap();
    let error = keys.rotation().switch(None).unwrap_err();
    assert!(
        matches!(error, RotationError::NotTrusted(_)),
        "nobody trusts it yet"
    );
    keys.rotation().trust(Algorithm::Es256).unwrap();
    assert_eq!(keys.trusted(), sorted([first.clone(), next.clone()]));

    // Switch: the old key was kept, the next one not moved.
    fs::copy(keys.path("sa.key"), keys.path("sa.key.old")).unwrap();
    assert_eq!(
        keys.rotation().stage().unwrap(),
        Stage::Trusted { next: next.clone() }
    );
    let switched = keys.rotation().switch(None).unwrap();
    assert!(matches!(switched, Stage::Switched { old, .. } if old == first));
    assert_eq!(keys.signing(), next);

    // Undo of a switch: the next key was kept, the old one not moved.
    fs::copy(keys.path("sa.key"), keys.path("sa.key.undone")).unwrap();
    assert!(matches!(
        keys.rotation().stage().unwrap(),
        Stage::Switched { .. }
    ));
    let undone = keys.rotation().undo().unwrap();
    assert!(matches!(undone, Stage::Undone { undone, .. } if undone == next));
    assert_eq!(keys.signing(), first);

    // A switch after that: the old key was kept, the other one not moved.
    fs::copy(keys.path("sa.key"), keys.path("sa.key.old")).unwrap();
    let stage = keys.rotation().stage().unwrap();
    assert!(matches!(stage, Stage::Undone { .. }), "{stage}");
    let dropped = keys
        .rotation()
        .drop_old(Duration::ZERO, true, SystemTime::now());
    assert_eq!(dropped.unwrap(), Stage::Idle);

    // Undo of trust after a switch that was cut off leaves nothing behind.
    keys.rotation().trust(Algorithm::Es256).unwrap();
    fs::copy(keys.path("sa.key"), keys.path("sa.key.old")).unwrap();
    assert_eq!(keys.rotation().undo().unwrap(), Stage::Idle);
    assert_eq!(keys.files(), ["sa.key", "sa.pub"]);

    // Drop: the public half is gone, the key file not.
    keys.rotation().trust(Algorithm::Es256).unwrap();
    keys.rotation().switch(None).unwrap();
    let signing = load_signing_key(&FileRef::new("f", keys.path("sa.key"))).unwrap();
    fs::write(keys.path("sa.pub"), signing.public().to_pem()).unwrap();
    fs::copy(keys.path("sa.key"), keys.path("sa.key.undone")).unwrap();
    let dropped = keys
        .rotation()
        .drop_old(Duration::ZERO, true, SystemTime::now())
        .unwrap();
    assert_eq!(dropped, Stage::Idle);
    assert_eq!(keys.files(), ["sa.key", "sa.pub"]);
}
