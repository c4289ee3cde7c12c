//! Reads whom to believe: `kind: AuthenticationConfig`, and the same fields within other documents.

use super::settings::{ServiceAccountSettings, Settings};
use crate::document::{Document, Node, Problem, Section, bounds, value};
use crate::https::Endpoint;
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use crate::token::serviceaccount::DEFAULT_LEEWAY;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A question takes a round trip and a signature; beyond this the API server is down.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// kubelet's `authentication.webhook.cacheTTL`.
const DEFAULT_AUTHORIZED_TTL: Duration = Duration::from_secs(120);
/// Short: a token that was made a moment ago shall work soon.
const DEFAULT_UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);

/// A document about authentication alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// The file that it was read from.
    pub file: PathBuf,
    /// What it says.
    pub settings: Settings,
}

impl Document for AuthenticationConfig {
    const KIND: &'static str = "AuthenticationConfig";

    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self> {
        Some(Self {
            file: file.to_owned(),
            settings: read_settings(root),
        })
    }
}

/// Reads the fields about bearer tokens of any mapping, whose files are called by these alone.
pub fn read_settings(section: &mut Section<'_>) -> Settings {
    section.name_files(String::new());
    let entries = bounds::LISTENER_ENTRIES;
    Settings {
        bootstrap_token_dir: section.file("bootstrapTokenDir").map(|dir| dir.path),
        token_auth_file: section.file("tokenAuthFile"),
        service_accounts: read_service_accounts(section),
        token_review: read_token_review(section),
        api_audiences: section.list("apiAudiences", entries, value::text),
    }
}

fn read_service_accounts(parent: &mut Section<'_>) -> Option<ServiceAccountSettings> {
    let mut section = parent.section("serviceAccounts")?;
    if section.is_blank("issuers") {
        section.missing("issuers", "[https://kubernetes.default.svc]");
    }
    if section.is_blank("keyFiles") {
        section.missing("keyFiles", "[sa.pub]");
    }
    let entries = bounds::LISTENER_ENTRIES;
    let issuers = section.list("issuers", entries, value::text);
    let key_files = section.files("keyFiles", entries);
    let leeway = |node: &Node| value::duration(node, &bounds::LEEWAY);
    let leeway = section.optional("leeway", leeway);
    let jwks_uri = section.optional("jwksURI", value::text);
    Some(ServiceAccountSettings {
        issuers,
        key_files,
        leeway: leeway.unwrap_or(DEFAULT_LEEWAY),
        jwks_uri,
    })
}

fn read_token_review(parent: &mut Section<'_>) -> Option<TokenReviewSettings> {
    let mut section = parent.section("tokenReview")?;
    let server = |node: &Node| {
        let text = value::text(node)?;
        match text.parse::<Endpoint>() {
            Ok(_) => Ok(text),
            Err(problem) => Err(Problem::new(
                format!("{text:?} {problem}"),
                "write it like https://10.0.0.1:6443",
            )),
        }
    };
    let server = section.required("server", "https://10.0.0.1:6443", server);
    let ca_file = section.required_file("caFile", "ca.crt");
    let credential = ReviewCredential::read(&mut section, true);
    let timeout = |node: &Node| value::duration(node, &bounds::PHASE);
    let timeout = section.optional("timeout", timeout);
    let ttl = |node: &Node| value::duration(node, &bounds::CACHE_TTL);
    let authorized = section.optional("authorizedTTL", ttl);
    let unauthorized = section.optional("unauthorizedTTL", ttl);
    Some(TokenReviewSettings {
        server: server?,
        ca_file: ca_file?,
        credential: credential?,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        authorized_ttl: authorized.unwrap_or(DEFAULT_AUTHORIZED_TTL),
        unauthorized_ttl: unauthorized.unwrap_or(DEFAULT_UNAUTHORIZED_TTL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{FileRef, Loaded};

    const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: AuthenticationConfig\n";

    fn parse(text: &str) -> Result<Settings, String> {
        AuthenticationConfig::parse(&format!("{HEAD}{text}"), Path::new("/etc/e/authn.yaml"))
            .map(|loaded| loaded.config.settings)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn parse_full_document_reads_every_field() {
        let settings = parse(
            "bootstrapTokenDir: tokens\ntokenAuthFile: tokens.csv\napiAudiences: [api]\n\
             serviceAccounts: {issuers: [https://a.example], keyFiles: [sa.pub], leeway: 10s}\n\
             tokenReview: {server: \"https://10.0.0.1:6443\", caFile: ca.crt, tokenFile: token, \
             timeout: 2s, authorizedTTL: 1m, unauthorizedTTL: 0s}\n",
        )
        .unwrap();
        assert_eq!(settings.bootstrap_token_dir, Some("/etc/e/tokens".into()));
        assert_eq!(settings.api_audiences, ["api"]);
        let accounts = settings.service_accounts.as_ref().unwrap();
        assert_eq!(accounts.leeway, Duration::from_secs(10));
        let review = settings.token_review.as_ref().unwrap();
        assert_eq!(review.unauthorized_ttl, Duration::ZERO);
        let token = FileRef::new("tokenReview.tokenFile", "/etc/e/token");
        assert_eq!(review.credential, ReviewCredential::Token(token));
        let files: Vec<_> = settings.files().into_iter().collect();
        let want = ["/etc/e/ca.crt", "/etc/e/sa.pub", "/etc/e/tokens.csv"];
        assert_eq!(files, want.map(PathBuf::from));
    }

    #[test]
    fn parse_example_is_valid_and_every_field_is_in_the_reference() {
        let example = include_str!("../../../examples/authentication.yaml");
        let Loaded { config, warnings } =
            AuthenticationConfig::parse(example, Path::new("/etc/e/authn.yaml")).unwrap();
        assert!(warnings.is_empty());
        let all =
            config.settings.service_accounts.is_some() && config.settings.token_review.is_some();
        assert!(all && config.settings.bootstrap_token_dir.is_some());
        // The list of known fields comes from the reader itself.
        let reference = include_str!("../../../../docs/tokens.md");
        type Text = fn(&str) -> String;
        let sections: [(&str, Text); 3] = [
            ("", |f| f.to_owned()),
            ("serviceAccounts.", |f| format!("serviceAccounts: {{{f}}}")),
            ("tokenReview.", |f| format!("tokenReview: {{{f}}}")),
        ];
        for (section, text) in sections {
            let errors = parse(&text("qqqqqqqqqqqqqqqq: 1\n")).unwrap_err();
            let known = errors.split("known here: ").nth(1).unwrap();
            for field in known.lines().next().unwrap().split(", ") {
                let bare = format!("`{field}`");
                let full = format!("`{section}{field}`");
                let there = reference.contains(&bare) || reference.contains(&full);
                let head = field == "apiVersion" || field == "kind";
                let nested = reference.contains(&format!("`{field}."));
                assert!(
                    there || head || nested,
                    "docs/tokens.md lacks {section}{field}"
                );
                assert!(
                    example.contains(&format!("{field}:")),
                    "the example lacks {field}"
                );
            }
        }
    }

    #[test]
    fn parse_blank_document_believes_certificates_only() {
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    #[test]
    fn parse_defaults_are_those_of_kubernetes() {
        let settings = parse(
            "serviceAccounts: {issuers: [a], keyFiles: [b]}\ntokenReview: {server: \
             \"https://a\", caFile: ca.crt, clientCertFile: c, clientKeyFile: k}\n",
        )
        .unwrap();
        let leeway = settings.service_accounts.unwrap().leeway;
        assert_eq!(leeway, Duration::from_secs(60));
        let review = settings.token_review.unwrap();
        assert_eq!(review.authorized_ttl, Duration::from_secs(120));
        assert_eq!(review.unauthorized_ttl, Duration::from_secs(30));
    }

    #[test]
    fn parse_tells_every_mistake_with_its_place() {
        let errors = parse(
            "serviceAccounts: {issuers: [], keyFile: sa.pub, leeway: 1h}\n\
             tokenReview: {server: \"http://a\", tokenFile: t, clientCertFile: c, timeout: 5}\n\
             tokenAuthFile: 7\nbootstrapTokensDir: x\n",
        )
        .unwrap_err();
        for words in [
            "serviceAccounts.issuers (line 3, column 18): is required; add `issuers: [https://",
            "serviceAccounts.keyFiles (line 3, column 18): is required; add `keyFiles: [sa.pub]`",
            "serviceAccounts.keyFile (line 3",
            "did you mean `keyFiles`?",
            "serviceAccounts.leeway (line 3, column 57): 1h is out of range; use 0s to 5m",
            "tokenReview.server (line 4, column 23): \"http://a\" is not an https URL",
            "tokenReview.caFile (line 4",
            "tokenReview (line 4, column 14): has not exactly one credential",
            "tokenReview.timeout (line 4",
            "tokenAuthFile (line 5, column 16): is a number, not a string; quote it",
            "did you mean `bootstrapTokenDir`?",
        ] {
            assert!(errors.contains(words), "{words}: {errors}");
        }
    }
}
