//! What a path is.

use super::access::Question;
use super::object::Part;
use super::{discovery, openapi, query, whoami};
use crate::error::ApiError;
use crate::object::RESOURCE;
use eyesplice_identity::token::review;
use eyesplice_identity::token::serviceaccount::{DISCOVERY_PATH, JWKS_PATH};

/// What a request is about, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Health(Probe),
    Version,
    /// Whom to trust, for those who know a pin of it.
    ClusterInfo,
    Discovery(discovery::Document),
    OpenApi(openapi::Document),
    /// Whose is this token?
    TokenReview,
    /// What may its asker do?
    Access(Question),
    /// Who is its asker, in this version?
    WhoAmI(&'static str),
    /// Issuer and keys of service-account tokens.
    Issuer,
    /// `kubectl describe` asks for them; there are none.
    Events,
    Collection,
    Object(String, Part),
}

impl Target {
    /// Upstream takes every path with a slash at its end, too.
    pub(super) fn of(path: &str) -> Result<Self, ApiError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(probe) = Probe::of(path) {
            return Ok(Self::Health(probe));
        }
        Ok(match path {
            "/version" => Self::Version,
            "/api/v1/namespaces/kube-public/configmaps/cluster-info" => Self::ClusterInfo,
            "/api/v1/events" => Self::Events,
            path if review::is_path(path) => Self::TokenReview,
            DISCOVERY_PATH | JWKS_PATH => Self::Issuer,
            _ => {
                if let Some(question) = Question::of(path) {
                    return Ok(Self::Access(question));
                }
                if let Some(version) = whoami::version_of(path) {
                    return Ok(Self::WhoAmI(version));
                }
                if let Some(document) = discovery::Document::of(path) {
                    return Ok(Self::Discovery(document));
                }
                if let Some(document) = openapi::Document::of(path) {
                    return Ok(Self::OpenApi(document));
                }
                return Self::resource(path);
            }
        })
    }

    fn resource(path: &str) -> Result<Self, ApiError> {
        let rest = path
            .strip_prefix("/apis/certificates.k8s.io/v1/")
            .and_then(|rest| rest.strip_prefix(RESOURCE))
            .ok_or_else(ApiError::no_such_path)?;
        if rest.is_empty() {
            return Ok(Self::Collection);
        }
        let rest = rest.strip_prefix('/').ok_or_else(ApiError::no_such_path)?;
        let (name, part) = match rest.split_once('/') {
            None => (rest, Part::Whole),
            Some((name, "approval")) => (name, Part::Approval),
            Some((name, "status")) => (name, Part::Status),
            Some(_) => return Err(ApiError::no_such_path()),
        };
        if name.is_empty() {
            return Ok(Self::Collection);
        }
        Ok(Self::Object(query::decode(name)?.into_owned(), part))
    }

    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Health(_) | Self::Version | Self::ClusterInfo)
    }
}

/// What is asked of a process's health; it answers, so it is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// By its path.
    name: &'static str,
    /// One check alone.
    ping: bool,
}

impl Probe {
    fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (name, check) = path.split_once('/').unwrap_or((path, ""));
        let name = ["healthz", "livez", "readyz"]
            .into_iter()
            .find(|known| *known == name)?;
        let ping = check == "ping";
        (ping || check.is_empty()).then_some(Self { name, ping })
    }

    /// What `kubectl get --raw /livez?verbose` prints.
    pub(super) fn text(self, query: &str) -> String {
        let mut keys = query.split('&').map(|pair| pair.split('=').next());
        if self.ping || !keys.any(|key| key == Some("verbose")) {
            return "ok".to_owned();
        }
        format!("[+]ping ok\n{} check passed\n", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_of_every_path() {
        let base = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let at = |rest: &str| Target::of(&format!("{base}{rest}")).map_err(|e| e.code.as_u16());
        assert_eq!(at(""), Ok(Target::Collection));
        assert_eq!(at("/a"), Ok(Target::Object("a".to_owned(), Part::Whole)));
        assert_eq!(
            at("/a%3Ab"),
            Ok(Target::Object("a:b".to_owned(), Part::Whole))
        );
        assert_eq!(
            at("/a/approval"),
            Ok(Target::Object("a".to_owned(), Part::Approval))
        );
        assert_eq!(
            at("/a/status"),
            Ok(Target::Object("a".to_owned(), Part::Status))
        );
        assert_eq!(at("/"), Ok(Target::Collection));
        assert_eq!(
            at("/a/status/"),
            Ok(Target::Object("a".to_owned(), Part::Status))
        );
        for rest in ["x", "/a/b", "/a/status//", "/a/approval/b"] {
            assert_eq!(at(rest), Err(404), "{rest}");
        }
        for path in ["/version", "/version/"] {
            assert_eq!(Target::of(path).ok(), Some(Target::Version));
        }
        for path in ["/livez", "/readyz/", "/healthz/ping"] {
            assert!(matches!(Target::of(path), Ok(Target::Health(_))), "{path}");
        }
        assert_eq!(Target::of(review::PATH).ok(), Some(Target::TokenReview));
        let base = "/apis/authorization.k8s.io/v1";
        let rules = Target::of(&format!("{base}/selfsubjectrulesreviews"));
        assert_eq!(rules.ok(), Some(Target::Access(Question::Rules)));
        for group in [
            "certificates.k8s.io",
            "authorization.k8s.io",
            "authentication.k8s.io",
        ] {
            for rest in ["", "/v1", "/v1/"] {
                let target = Target::of(&format!("/apis/{group}{rest}"));
                assert!(matches!(target, Ok(Target::Discovery(_))), "{group}{rest}");
            }
            let beta = Target::of(&format!("/apis/{group}/v1beta1"));
            assert_eq!(beta.is_ok(), group == whoami::GROUP, "{group}");
            assert!(Target::of(&format!("/apis/{group}/v1alpha1")).is_err());
        }
        for version in ["v1", "v1beta1"] {
            let at = |rest| Target::of(&format!("/apis/authentication.k8s.io/{version}/{rest}"));
            assert_eq!(at("tokenreviews").ok(), Some(Target::TokenReview));
            assert_eq!(at("selfsubjectreviews").ok(), Some(Target::WhoAmI(version)));
            assert!(at("other").is_err());
        }
        assert!(Target::of(&format!("{base}/subjectaccessreviews")).is_err());
        for path in [DISCOVERY_PATH, JWKS_PATH] {
            assert_eq!(Target::of(path).ok(), Some(Target::Issuer));
        }
        for path in [
            "/",
            "/apis/apps/v1",
            "/api/v1/nodes",
            "//healthz",
            "/livez/other",
            "",
        ] {
            assert!(Target::of(path).is_err(), "{path}");
        }
    }
}
