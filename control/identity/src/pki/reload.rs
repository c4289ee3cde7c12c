//! How those who use a file of the tree come to load it again: what `pki rotate-ca` tells.
//!
//! Facts of Kubernetes 1.20.2 to 1.36.2; `docs/pki.md` has them by release.

use super::files::Change;
use super::profile::{Profile, Usage};

const MINUTE: &str = "by itself, within a minute";
const CONNECTION: &str = "by itself, at its next connection";
const KUBELET_CLIENT: &str = "by itself, at its next connection; one of 1.36 then ends all live \
                              streams to kubelets, so give it the files in a quiet hour";
const SECONDS: &str = "by itself, within seconds";
const RESTART: &str = "at its next start";

/// Somebody who uses a file that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Who.
    pub user: &'static str,
    /// How they come to load it again.
    pub how: &'static str,
    /// Whether it is a certificate of their own, and not only whom they trust.
    pub holds: bool,
}

/// Who uses what a change writes.
pub(super) fn reloads(profiles: &[Profile], change: &Change) -> Vec<Reload> {
    let mut all = Vec::new();
    for profile in profiles {
        let written = |name: &String| change.files.iter().any(|file| file.name == *name);
        let certificate = written(&profile.certificate_file());
        let reload = Reload {
            user: profile.used_by,
            how: how(profile),
            holds: certificate && profile.usage != Usage::Authority,
        };
        let touched = certificate || profile.kubeconfig_file().as_ref().is_some_and(written);
        if touched && !all.contains(&reload) {
            all.push(reload);
        }
    }
    all
}

/// What to know before these files of a tree are given to those who use them.
pub fn notice(files: &[String]) -> Option<&'static str> {
    let ends_streams = |file: &String| {
        let name = file.strip_suffix(".crt").or(file.strip_suffix(".key"));
        name == Some("apiserver-kubelet-client")
    };
    files.iter().any(ends_streams).then_some(
        "API servers of 1.36 close every connection to kubelets when apiserver-kubelet-client changes:\n\
         live exec, attach, port-forward and logs -f end (over SPDY kubectl exits with 0 and says\n\
         nothing). Give them its files in a quiet hour, or with their next restart; docs/pki.md has the\n\
         steps.\n",
    )
}

/// Says how the holder of a certificate, or who trusts a CA, loads its file again.
fn how(profile: &Profile) -> &'static str {
    match profile.name.as_str() {
        "ca" => "the two servers by themselves, within a minute; kubeconfigs at their next start",
        "kubelet-serving-ca" => {
            "eyesplice by itself, within seconds; kube-apiserver at its next start (1.36: within five minutes)"
        }
        "front-proxy-ca" => MINUTE,
        "etcd/ca" => "both at their next start",
        "egress-ca" => {
            "at the next start of kube-apiserver (1.36: for kubelets within five minutes)"
        }
        "egress-client-ca" | "tunnel-ca" => SECONDS,
        "apiserver" | "front-proxy-client" | "controller-manager-server" | "scheduler-server" => {
            MINUTE
        }
        "apiserver-kubelet-client" => KUBELET_CLIENT,
        "apiserver-etcd-client" | "etcd/healthcheck-client" => CONNECTION,
        "egress-server" | "eyesplice-kubelet-client" => SECONDS,
        "egress-client" => "at the next start of kube-apiserver, unless it dials a UNIX socket",
        "admin" | "super-admin" => "whenever the kubeconfig is read",
        name if name.starts_with("user-") => "whenever the kubeconfig is read",
        name if name.starts_with("agent-") => SECONDS,
        name if name.starts_with("etcd/") => CONNECTION,
        _ if profile.usage == Usage::Server => {
            "at its next start, or with serverTLSBootstrap when it renews its own"
        }
        _ => RESTART,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::pki::files::File;
    use crate::pki::profile::profiles;
    use crate::pki::spec::Spec;

    #[test]
    fn reloads_tell_holders_from_those_who_trust() {
        let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n";
        let spec = Spec::parse(text, std::path::Path::new("/pki.yaml"))
            .unwrap()
            .config;
        let all = profiles(&spec);
        let files = ["etcd/ca.crt", "etcd/server.crt", "admin.kubeconfig"];
        let file = |name: &&str| File::public((*name).to_owned(), String::new());
        let change = Change {
            files: files.iter().map(file).collect(),
            remove: Vec::new(),
        };
        let told: Vec<_> = reloads(&all, &change)
            .into_iter()
            .map(|reload| (reload.user, reload.how, reload.holds))
            .collect();
        let expected = [
            (
                "etcd --trusted-ca-file, kube-apiserver --etcd-cafile",
                "both at their next start",
                false,
            ),
            ("etcd --cert-file", CONNECTION, true),
            ("administrators", "whenever the kubeconfig is read", false),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn notice_is_for_the_files_that_end_streams() {
        let files = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for names in [
            ["apiserver-kubelet-client.crt", "admin.crt"],
            ["etcd/peer.crt", "apiserver-kubelet-client.key"],
        ] {
            let told = notice(&files(&names)).unwrap();
            assert!(told.contains("quiet hour"), "{told}");
        }
        let others = files(&["apiserver.crt", "eyesplice-kubelet-client.crt", "ca.crt"]);
        assert_eq!(notice(&others), None);
        let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n";
        let spec = Spec::parse(text, std::path::Path::new("/pki.yaml"))
            .unwrap()
            .config;
        let change = Change {
            files: vec![File::public(
                "apiserver-kubelet-client.crt".to_owned(),
                String::new(),
            )],
            remove: Vec::new(),
        };
        let told = reloads(&profiles(&spec), &change);
        assert!(told[0].how.contains("ends all live streams"), "{told:?}");
    }
}
