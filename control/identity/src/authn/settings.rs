//! Where bearer tokens are looked up, as configured.

use crate::document::{FileRef, paths};
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// What is believed beside client certificates. Each part that is absent is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Directory of bootstrap tokens.
    pub bootstrap_token_dir: Option<PathBuf>,
    /// Static token file.
    pub token_auth_file: Option<FileRef>,
    /// Service-account tokens that are verified here.
    pub service_accounts: Option<ServiceAccountSettings>,
    /// Another API server that is asked about all others.
    pub token_review: Option<TokenReviewSettings>,
    /// Audiences of bootstrap and static tokens, which name none, and of service-account tokens;
    /// empty: the issuers of the latter.
    pub api_audiences: Vec<String>,
}

/// Whose service-account tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountSettings {
    /// `iss`; never empty.
    pub issuers: Vec<String>,
    /// Files of public keys; never empty.
    pub key_files: Vec<FileRef>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Where the keys are published; absent: below the first issuer.
    pub jwks_uri: Option<String>,
}

impl Settings {
    /// Every file that is read once and has to be watched. Bootstrap tokens are not among them:
    /// each request reads the one that it needs.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files: Vec<_> = self.token_auth_file.iter().collect();
        files.extend(
            self.service_accounts
                .iter()
                .flat_map(|accounts| &accounts.key_files),
        );
        if let Some(review) = &self.token_review {
            files.push(&review.ca_file);
            if let ReviewCredential::Certificate {
                cert_file,
                key_file,
            } = &review.credential
            {
                files.extend([cert_file, key_file]);
            }
        }
        paths(files)
    }

    /// Files that hold a key or a token.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let review = self.token_review.as_ref();
        let credential = review.map(|review| match &review.credential {
            ReviewCredential::Certificate { key_file, .. } => key_file,
            ReviewCredential::Token(file) => file,
        });
        paths(self.token_auth_file.iter().chain(credential))
    }
}
