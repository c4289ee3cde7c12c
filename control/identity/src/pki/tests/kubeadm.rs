//! A directory that has kubeadm's files, and no document.

use super::*;

/// What kubeadm makes and nothing else, from a tree with the same names.
fn make_kubeadm(dir: &Path) {
    let sections = "etcd: [{name: cp-1, addresses: [10.0.0.1]}]\n";
    make_from(dir, sections).unwrap();
    let ours = tree(dir).plan.file_names();
    let kept = [
        "ca",
        "apiserver",
        "apiserver-kubelet-client",
        "apiserver-etcd-client",
        "front-proxy-ca",
        "front-proxy-client",
        "sa",
        "etcd/ca",
        "etcd/server",
        "etcd/peer",
        "etcd/healthcheck-client",
    ];
    for name in ours {
        let stem = name.rsplit_once('.').unwrap().0;
        if !kept.contains(&stem) || name.ends_with(".kubeconfig") {
            fs::remove_file(dir.join("pki").join(name)).unwrap();
        }
    }
}

fn told(dir: &Path) -> Vec<String> {
    let rows = Tree::open_to_inspect(&dir.join("pki"), None).unwrap();
    let mut lines = Vec::new();
    for row in rows.inspect(SystemTime::now()) {
        let flaws = row.flaws.iter();
        lines.extend(flaws.map(|flaw| format!("{}: {flaw}", row.file)));
    }
    lines
}

#[test]
fn directory_of_kubeadm_is_judged_by_its_file_names() {
    let dir = tempfile::tempdir().unwrap();
    make_kubeadm(dir.path());
    assert_eq!(told(dir.path()), [] as [String; 0]);
    let opened = Tree::open_to_inspect(&dir.path().join("pki"), None).unwrap();
    assert_eq!(opened.inspect(SystemTime::now()).len(), 11);
    drop(opened);
    // kubeadm before 1.29 had its clients in system:masters.
    let masters = [
        (
            "apiserver-kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
            0,
        ),
        (
            "apiserver-kubelet-client",
            "/O=dev/CN=kube-apiserver-kubelet-client",
            1,
        ),
        (
            "apiserver-kubelet-client",
            "/O=system:masters/CN=somebody",
            1,
        ),
    ];
    for (name, subject, flaws) in masters {
        if !sign(dir.path(), name, subject) {
            eprintln!("SKIPPED: directory_of_kubeadm_is_judged_by_its_file_names: no openssl");
            return;
        }
        let told = told(dir.path());
        assert_eq!(told.len(), flaws, "{subject}: {told:?}");
    }
}

/// Signs a client's certificate again with another subject.
fn sign(dir: &Path, name: &str, subject: &str) -> bool {
    let (key, file) = (format!("{name}.key"), format!("{name}.crt"));
    let request = [
        "req", "-new", "-key", &key, "-subj", subject, "-out", "../csr",
    ];
    fs::write(
        dir.join("extensions"),
        "extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n",
    )
    .unwrap();
    let sign = [
        "x509", "-req", "-in", "../csr", "-CA", "ca.crt", "-CAkey", "ca.key",
    ];
    let rest = ["-days", "30", "-extfile", "../extensions", "-out", &file];
    let run = |arguments: &[&str]| openssl(dir, arguments).is_some_and(|(good, _)| good);
    run(&request) && run(&[&sign[..], &rest].concat())
}

#[test]
fn directory_of_kubeadm_with_a_fault_is_told() {
    let dir = tempfile::tempdir().unwrap();
    make_kubeadm(dir.path());
    let pki = dir.path().join("pki");
    fs::copy(
        pki.join("front-proxy-client.crt"),
        pki.join("apiserver.crt"),
    )
    .unwrap();
    let told = told(dir.path());
    assert!(
        told.iter().all(|line| line.starts_with("apiserver.crt: ")),
        "{told:?}"
    );
    for words in [
        "its role is CN=kube-apiserver",
        "no extended key usage",
        "not signed by a CA of ca.crt",
    ] {
        assert!(
            told.iter().any(|line| line.contains(words)),
            "{words}: {told:?}"
        );
    }
}

#[test]
fn directory_of_nobody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pki")).unwrap();
    let error = Tree::open_to_inspect(&dir.path().join("pki"), None).unwrap_err();
    assert!(matches!(error, PkiError::NoDocument(_)), "{error}");
    let error = Tree::open(&dir.path().join("pki"), None).unwrap_err();
    assert!(matches!(error, PkiError::NoDocument(_)), "{error}");
}
