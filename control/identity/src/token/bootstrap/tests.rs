use super::store::parse_any;
use super::testing::{TOKEN, record, token};
use super::*;
use crate::pki::testing::now;
use eyesplice_proto::causes::chain;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use zeroize::Zeroizing;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("tokens"));
    (dir, store)
}

#[test]
fn token_form_is_exact() {
    for text in [
        "",
        "abcdef",
        "abcdef.",
        ".0123456789abcdef",
        "abcde.0123456789abcdef",
        "abcdefg.0123456789abcdef",
        "abcdef.0123456789abcde",
        "abcdef.0123456789abcdef0",
        "ABCDEF.0123456789abcdef",
        "abcdef.0123456789ABCDEF",
        "abcdef:0123456789abcdef",
        "abcdef.0123456789abcde.",
        "abc/ef.0123456789abcdef",
        "../..f.0123456789abcdef",
        " abcdef.0123456789abcdef",
        "abcdef.0123456789abcdef\n",
        "äbcde.0123456789abcdef",
    ] {
        assert_eq!(
            text.parse::<BootstrapToken>().unwrap_err(),
            FormatError::Token,
            "{text:?}"
        );
    }
    assert_eq!(*token().expose(), TOKEN);
    assert!(!format!("{:?}", token()).contains("0123456789abcdef"));
}

#[test]
fn generate_draws_other_tokens_of_the_right_form() {
    let drawn: Vec<String> = (0..50)
        .map(|_| BootstrapToken::generate().unwrap().expose().to_string())
        .collect();
    for text in &drawn {
        text.parse::<BootstrapToken>().unwrap();
        assert_eq!(drawn.iter().filter(|other| *other == text).count(), 1);
    }
    // Every character of the alphabet comes up in 1100 of them.
    let all: String = drawn.concat();
    assert!(('0'..='9').chain('a'..='z').all(|c| all.contains(c)));
}

#[test]
fn authenticate_gives_the_user_and_groups_of_kubernetes() {
    let user = record().authenticate(&token(), now()).unwrap();
    assert_eq!(user.username, "system:bootstrap:abcdef");
    let groups = [
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
    ];
    assert_eq!(user.groups, groups);
    assert_eq!(user.uid, "");
}

#[test]
fn authenticate_refuses_and_names_the_cause() {
    let refused = |change: fn(&mut Record), presented: &str, after: u64| {
        let mut record = record();
        change(&mut record);
        let at = now() + Duration::from_secs(after);
        let refused = record
            .authenticate(&presented.parse().unwrap(), at)
            .unwrap_err();
        assert!(!refused.to_string().contains("0123456789abcde"));
        refused.to_string()
    };
    let none: fn(&mut Record) = |_| ();
    assert!(refused(none, "abcdef.0123456789abcdee", 0).contains("has another secret"));
    assert!(refused(none, "abcdeg.0123456789abcdef", 0).contains("has another secret"));
    assert!(refused(none, TOKEN, 3600).contains("expired 2026-11-22T09:00:00Z"));
    // A wrong secret is told nothing of expiry or usages.
    assert!(refused(none, "abcdef.0123456789abcdee", 3600).contains("has another secret"));
    let signing = |record: &mut Record| {
        record.usages = Usages {
            authentication: false,
            signing: true,
        };
    };
    assert!(refused(signing, TOKEN, 0).contains("is not for authentication"));
    let unreadable = |record: &mut Record| record.expiry = Expiry::Unreadable("soon".to_owned());
    assert!(refused(unreadable, TOKEN, 0).contains("counts as expired"));
    let mut never = record();
    never.expiry = Expiry::Never;
    assert!(
        never
            .authenticate(&token(), now() + Duration::from_secs(1 << 33))
            .is_ok()
    );
    assert!(
        record()
            .authenticate(&token(), now() + Duration::from_secs(3599))
            .is_ok()
    );
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    let pair = |(key, value): &(&str, &str)| {
        ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn secret_data_there_and_back_is_the_same() {
    let record = record();
    let pairs = record.to_data();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let read = Record::from_secret("bootstrap-token-abcdef", SECRET_TYPE, &data(&pairs)).unwrap();
    assert_eq!(*read.token.expose(), TOKEN);
    assert_eq!(read.expiry, record.expiry);
    assert_eq!(read.usages, record.usages);
    assert_eq!(read.groups, record.groups);
    assert_eq!(read.description, record.description);
    assert_eq!(pairs[2], ("expiration", "2026-11-22T09:00:00Z"));
}

#[test]
fn token_that_is_bound_says_whom_it_is_for_wherever_it_goes() {
    let mut record = record();
    assert!(record.bound.is_free());
    record.bound = Bound {
        nodes: vec!["worker-7".to_owned(), "worker-8".to_owned()],
        gateways: vec!["gw-1".to_owned()],
    };
    record.check().unwrap();
    let (_dir, store) = store();
    store.create(&record).unwrap();
    let kept = store.find(&record.token.id).unwrap().unwrap();
    assert_eq!(kept.bound, record.bound);
    let later = store.set_expiry(&record.token.id, Expiry::Never).unwrap();
    assert_eq!(later.bound, record.bound);
    let user = kept.authenticate(&token(), now()).unwrap();
    assert_eq!(Bound::of_extra(&user.extra), record.bound);
    for (name, words) in [
        ("Worker-7", "which is no name"),
        ("a b", "which is no name"),
    ] {
        record.bound.nodes = vec![name.to_owned()];
        let problem = record.check().unwrap_err().to_string();
        assert!(problem.contains(words), "{problem}");
    }
    record.bound.nodes = vec!["a".to_owned(); 101];
    assert!(
        record
            .check()
            .unwrap_err()
            .to_string()
            .contains("more than 100")
    );
}

#[test]
fn secret_that_is_wrong_is_refused_without_quoting_the_secret() {
    let base = [("token-id", "abcdef"), ("token-secret", "0123456789abcdef")];
    let with = |name: &str, kind: &str, more: &[(&str, &str)]| {
        let mut pairs = base.to_vec();
        for (key, value) in more {
            pairs.retain(|(other, _)| other != key);
            pairs.push((key, value));
        }
        Record::from_secret(name, kind, &data(&pairs))
    };
    let name = "bootstrap-token-abcdef";
    let long = format!("system:bootstrappers:{}", "a".repeat(257));
    type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str);
    let table: Vec<Row<'_>> = vec![
        (name, "Opaque", vec![], "has type \"Opaque\""),
        ("other", SECRET_TYPE, vec![], "wants bootstrap-token-abcdef"),
        (
            name,
            SECRET_TYPE,
            vec![("token-id", "ABC")],
            "has a token-id",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("token-id", "abcdeg")],
            "wants bootstrap-token-abcdeg",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("token-secret", "hunter2")],
            "has a token-secret",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", "system:masters")],
            "system:masters",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", "system:bootstrappers:")],
            "group",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", "system:bootstrappers:a-")],
            "group",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", "system:bootstrappers:A")],
            "group",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", " system:bootstrappers:a")],
            "group",
        ),
        (
            name,
            SECRET_TYPE,
            vec![("auth-extra-groups", &long)],
            "group",
        ),
    ];
    for (name, kind, more, words) in table {
        let problem = with(name, kind, &more).unwrap_err().to_string();
        assert!(problem.contains(words), "{words}: {problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    let missing = Record::from_secret(name, SECRET_TYPE, &data(&base[..1])).unwrap_err();
    assert_eq!(missing, RecordProblem::Missing("token-secret"));
    let longest = format!("system:bootstrappers:{}", "a".repeat(256));
    assert!(with(name, SECRET_TYPE, &[("auth-extra-groups", &longest)]).is_ok());
    let offset = with(
        name,
        SECRET_TYPE,
        &[("expiration", "2026-11-22T11:00:00+02:00")],
    )
    .unwrap();
    assert_eq!(offset.to_data()[2].1.as_str(), "2026-11-22T09:00:00Z");
    let first = with(
        name,
        SECRET_TYPE,
        &[("expiration", "0000-01-01T00:00:00+23:59")],
    )
    .unwrap();
    assert!(first.expiry.is_over(now()));
    // As upstream: anything but `true` is no usage, and an unreadable time is over.
    let odd = [
        ("usage-bootstrap-authentication", "True"),
        ("expiration", "tomorrow"),
    ];
    let read = with(name, SECRET_TYPE, &odd).unwrap();
    assert_eq!(read.usages, Usages::default());
    assert!(read.expiry.is_over(now()));
}

#[test]
fn store_keeps_lists_expires_and_deletes() {
    let (_dir, store) = store();
    assert!(store.list().unwrap().is_empty(), "absent is empty");
    store.create(&record()).unwrap();
    let path = store.dir().join("bootstrap-token-abcdef.yaml");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(path.clone()), mode(store.dir().to_owned())),
        (0o600, 0o700)
    );
    let found = store.find(&token().id).unwrap().unwrap();
    assert_eq!(*found.token.expose(), TOKEN);
    assert_eq!(found.description, "the \"first\" rack: é");
    let error = store.create(&record()).unwrap_err().to_string();
    assert!(error.contains("abcdef exists already"), "{error}");

    let mut second = record();
    second.token = "aaaaaa.0123456789abcdef".parse().unwrap();
    second.expiry = Expiry::Never;
    store.create(&second).unwrap();
    let ids: Vec<String> = store
        .list()
        .unwrap()
        .iter()
        .map(|record| record.as_ref().unwrap().token.id.to_string())
        .collect();
    assert_eq!(ids, ["aaaaaa", "abcdef"]);

    let at = Expiry::At(now().into());
    store.set_expiry(&second.token.id, at.clone()).unwrap();
    assert_eq!(store.find(&second.token.id).unwrap().unwrap().expiry, at);
    assert_eq!(
        store.delete_expired(now()).unwrap(),
        [second.token.id.clone()]
    );
    assert!(store.find(&second.token.id).unwrap().is_none());
    let error = store
        .set_expiry(&second.token.id, Expiry::Never)
        .unwrap_err();
    assert!(matches!(error, StoreError::Unknown(..)));
    store.delete(&token().id).unwrap();
    let error = store.delete(&token().id).unwrap_err().to_string();
    assert!(
        error.contains("there is no bootstrap token abcdef"),
        "{error}"
    );
    let left: Vec<_> = fs::read_dir(store.dir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn store_reads_what_kubectl_writes() {
    let (_dir, store) = store();
    fs::create_dir_all(store.dir()).unwrap();
    // `kubectl get secret -o yaml`: base64, and fields that are none of ours.
    let text = "apiVersion: v1\ndata:\n  token-id: YWJjZGVm\n  token-secret: MDEyMzQ1Njc4OWFiY2RlZg==\n  \
                usage-bootstrap-authentication: dHJ1ZQ==\nkind: Secret\nmetadata:\n  \
                creationTimestamp: \"2026-11-22T07:00:00Z\"\n  name: bootstrap-token-abcdef\n  \
                namespace: kube-system\n  resourceVersion: \"42\"\ntype: bootstrap.kubernetes.io/token\n";
    let path = store.dir().join("bootstrap-token-abcdef.yaml");
    fs::write(&path, text).unwrap();
    let found = store.find(&token().id).unwrap().unwrap();
    assert_eq!(*found.token.expose(), TOKEN);
    assert!(found.usages.authentication);
    let json = serde_json::json!({
        "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"}, "type": SECRET_TYPE,
        "stringData": {"token-id": "abcdef", "token-secret": "fedcba9876543210"},
        "data": {"token-secret": "MDEyMzQ1Njc4OWFiY2RlZg=="},
    });
    fs::write(&path, json.to_string()).unwrap();
    let found = store.find(&token().id).unwrap().unwrap();
    assert_eq!(
        found.token.secret.expose(),
        "fedcba9876543210",
        "stringData wins"
    );
}

#[test]
fn store_with_broken_files_lists_the_others_and_quotes_no_secret() {
    let (_dir, store) = store();
    store.create(&record()).unwrap();
    let write = |id: &str, text: &str| {
        fs::write(store.dir().join(format!("bootstrap-token-{id}.yaml")), text).unwrap();
    };
    write("broken", "stringData: {token-secret: hunter2-hunter2-\n");
    write("toobig", &"# \n".repeat(64 << 10));
    write(
        "wrongn",
        "metadata: {name: x}\ntype: bootstrap.kubernetes.io/token\n",
    );
    fs::write(store.dir().join("README"), "hello").unwrap();
    fs::write(store.dir().join("bootstrap-token-BAD.yaml"), "hello").unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 4);
    let errors: Vec<String> = listed
        .iter()
        .filter_map(|record| record.as_ref().err())
        .map(|error| chain(error))
        .collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    let all = errors.join("\n");
    assert!(all.contains("is no Secret in YAML or JSON: line "), "{all}");
    assert!(all.contains("larger than 65536 bytes"), "{all}");
    assert!(all.contains("lacks the key token-id"), "{all}");
    assert!(!all.contains("hunter2"), "{all}");
    assert_eq!(store.delete_expired(now()).unwrap(), []);
    store.delete(&"broken".parse().unwrap()).unwrap();
}

#[test]
fn store_refuses_to_write_what_authenticates_nobody_or_too_many() {
    let (_dir, store) = store();
    let refused = |change: fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        store.create(&record).unwrap_err().to_string()
    };
    assert!(refused(|r| r.groups = vec!["system:masters".to_owned()]).contains("system:masters"));
    assert!(refused(|r| r.usages = Usages::default()).contains("no usage"));
    assert!(refused(|r| r.description = "a\nb".to_owned()).contains("description"));
    assert!(refused(|r| r.description = "a".repeat(1025)).contains("description"));
    assert!(refused(|r| r.groups = vec!["system:bootstrappers:a".to_owned(); 65]).contains("64"));
    assert!(!store.dir().exists(), "nothing was written");
}

#[test]
fn store_that_cannot_be_written_says_so_and_leaves_nothing() {
    if nix::unistd::geteuid().is_root() {
        // Root writes into read-only directories; a file in the way stops it, too.
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Store::new(dir.path().join("file"))
            .create(&record())
            .unwrap_err();
        assert!(chain(&error).contains("cannot create the directory"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let error = Store::new(dir.path()).create(&record()).unwrap_err();
    assert!(chain(&error).contains("Permission denied"));
}

#[test]
fn store_with_two_creators_of_one_token_lets_one_win() {
    let (_dir, store) = store();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| usize::from(store.create(&record()).is_ok())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(won, 1);
    assert_eq!(
        fs::read_dir(store.dir()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn parse_every_prefix_of_a_secret_is_an_answer() {
    let (_dir, store) = store();
    store.create(&record()).unwrap();
    let text = fs::read_to_string(store.dir().join("bootstrap-token-abcdef.yaml")).unwrap();
    assert!(parse_any(&text).is_ok());
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse_any(&text[..end]);
    }
}

proptest! {
    #[test]
    fn parse_any_text_never_panics(text in "\\PC{0,200}") {
        let _ = parse_any(&text);
        let _ = text.parse::<BootstrapToken>();
    }
}
