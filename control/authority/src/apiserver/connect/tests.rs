//! Kubeconfigs that make a client, and such that do not.

use super::*;
use eyesplice_identity::pki::testing::{Made, authority, client};
use eyesplice_proto::causes::chain;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use time::Duration as Span;

/// A directory with a kubeconfig that names its files.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let ever = |recipe: eyesplice_identity::pki::testing::Recipe| {
            recipe.valid(-Span::days(3650), Span::days(36500))
        };
        let ca: Made = ever(authority("kubernetes")).self_signed();
        let user = ever(client("jane")).signed_by(&ca);
        site.write("ca.crt", &ca.certificate.pem());
        site.write("jane.crt", &user.certificate.pem());
        site.write("jane.key", &user.key.serialize_pem());
        site.write(
            "config",
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
             contexts: [{name: x, context: {cluster: c, user: u}}]\n\
             clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', \
             certificate-authority: ca.crt}}]\n\
             users: [{name: u, user: {client-certificate: jane.crt, client-key: jane.key}}]\n",
        );
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn place(&self) -> Place {
        Place::Kubeconfig(self.path("config"))
    }
}

#[tokio::test]
async fn kubeconfig_that_is_good_makes_a_client() {
    let site = Site::new();
    site.place().check().unwrap();
    let client = site.place().connect().await;
    assert!(client.is_ok(), "{}", chain(&client.err().unwrap()));
}

#[tokio::test]
async fn kubeconfig_with_flaws_makes_none_and_names_them_all() {
    let site = Site::new();
    fs::remove_file(site.path("jane.key")).unwrap();
    fs::remove_file(site.path("ca.crt")).unwrap();
    let checked = site.place().check().unwrap_err();
    let connected = site.place().connect().await.err().unwrap();
    for error in [checked, connected] {
        let text = chain(&error);
        let config = site.path("config");
        for expected in [
            config.to_str().unwrap(),
            "jane.key",
            "ca.crt",
            "cannot be used",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
    let nowhere = Place::Kubeconfig(site.path("absent"));
    let error = nowhere.connect().await.err().unwrap();
    assert!(chain(&error).contains("absent"), "{}", chain(&error));
}

#[test]
fn files_are_all_that_a_client_reads_once() {
    let site = Site::new();
    let expected = ["ca.crt", "config", "jane.crt", "jane.key"].map(|name| site.path(name));
    assert_eq!(site.place().files(), BTreeSet::from(expected));
    assert!(Place::Pod.files().is_empty());
    let nowhere = site.path("absent");
    let place = Place::Kubeconfig(nowhere.clone());
    assert_eq!(place.files(), BTreeSet::from([nowhere]));
}

#[test]
fn digest_changes_with_each_of_the_files() {
    let site = Site::new();
    let mut before = site.place().digest();
    assert_eq!(site.place().digest(), before);
    for name in ["jane.crt", "jane.key", "ca.crt"] {
        let text = fs::read_to_string(site.path(name)).unwrap();
        site.write(name, &format!("{text}\n"));
        let after = site.place().digest();
        assert_ne!(after, before, "{name}");
        before = after;
    }
    fs::remove_file(site.path("ca.crt")).unwrap();
    assert_ne!(site.place().digest(), before, "absent");
}

#[test]
fn place_is_named_for_people() {
    let place = Place::Kubeconfig(PathBuf::from("/etc/x.conf"));
    assert_eq!(place.to_string(), "/etc/x.conf");
    assert_eq!(Place::Pod.to_string(), "the pod's service account");
    assert!(Place::Pod.check().is_ok(), "it is there in the pod only");
}
