//! Looks a bearer token up: here first, then elsewhere.

use super::error::{AuthnError, CredentialKind, Refusal};
use super::settings::{ServiceAccountSettings, Settings};
use crate::access::{ReviewSetupError, TokenReviews};
use crate::token::BearerToken;
use crate::token::bootstrap::{self, BootstrapToken, Store, StoreError};
use crate::token::jwt::{KeyFileError, load_public_keys};
use crate::token::serviceaccount::{Discovery, DiscoveryError, Verifier};
use crate::token::static_tokens::{StaticTokens, TokenFileError};
use crate::user::UserInfo;
use eyesplice_proto::causes::chain;
use std::sync::Arc;
use std::time::SystemTime;

/// Where bearer tokens are looked up; one generation, replaced as a whole.
#[derive(Debug, Default)]
pub struct Sources {
    bootstrap: Option<Store>,
    static_tokens: Option<StaticTokens>,
    service_accounts: Option<Verifier>,
    discovery: Option<Arc<Discovery>>,
    token_review: Option<TokenReviews>,
    /// Of tokens that name none.
    audiences: Vec<String>,
    warnings: Vec<String>,
}

/// Whose a token is, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// The user.
    pub user: UserInfo,
    /// Which of the audiences that were asked for, or of our own; none if we know of none.
    pub audiences: Vec<String>,
}

/// Every source that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|error| chain(error)).collect::<Vec<_>>().join("\n"))]
pub struct SourceErrors(pub Vec<SourceError>);

/// A source that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The token file.
    #[error("tokenAuthFile cannot be used")]
    TokenFile(#[from] TokenFileError),
    /// A file of keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Whom to ask.
    #[error(transparent)]
    Review(#[from] ReviewSetupError),
    /// What is published.
    #[error("serviceAccounts.jwksURI cannot be published")]
    Discovery(#[from] DiscoveryError),
}

impl Sources {
    /// Reads every file. Blocks; dials nothing.
    ///
    /// # Errors
    /// Every source that cannot be used: then none is, and the last good ones stay.
    pub fn load(settings: &Settings) -> Result<Self, SourceErrors> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let static_tokens = settings.token_auth_file.as_ref().and_then(|file| {
            let tokens = StaticTokens::load(&file.path);
            let tokens = tokens.map_err(|error| errors.push(error.into())).ok()?;
            let path = file.path.display();
            warnings.extend(
                tokens
                    .warnings()
                    .iter()
                    .map(|warning| format!("{path}: {warning}")),
            );
            Some(tokens)
        });
        let mut audiences = settings.api_audiences.clone();
        let service_accounts = settings.service_accounts.as_ref().map(|accounts| {
            let mut keys = Vec::new();
            for file in &accounts.key_files {
                match load_public_keys(file) {
                    Ok(found) => keys.extend(found),
                    Err(error) => errors.push(error.into()),
                }
            }
            if audiences.is_empty() {
                audiences.clone_from(&accounts.issuers);
            }
            Verifier::new(
                keys,
                accounts.issuers.clone(),
                audiences.clone(),
                accounts.leeway,
            )
        });
        let discovery = match (&settings.service_accounts, &service_accounts) {
            (Some(accounts), Some(verifier)) => {
                publish(accounts, verifier).unwrap_or_else(|error| {
                    errors.push(error.into());
                    None
                })
            }
            _ => None,
        };
        let token_review = settings.token_review.as_ref().and_then(|review| {
            TokenReviews::load(review)
                .map_err(|error| errors.push(error.into()))
                .ok()
        });
        if !errors.is_empty() {
            return Err(SourceErrors(errors));
        }
        Ok(Self {
            bootstrap: settings.bootstrap_token_dir.clone().map(Store::new),
            static_tokens,
            service_accounts,
            discovery,
            token_review,
            audiences,
            warnings,
        })
    }

    /// What is allowed and probably not meant; it quotes no token.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Issuer and keys of service-account tokens, as they are published; `None` if there are none, or
    /// if nobody could find them by the issuer's name.
    pub(super) fn discovery(&self) -> Option<Arc<Discovery>> {
        self.discovery.clone()
    }

    /// Says whose a token is: the first source that accepts it decides.
    pub(super) async fn review(
        &self,
        token: &BearerToken,
        wanted: &[String],
        now: SystemTime,
    ) -> Result<Reviewed, AuthnError> {
        // What is refused here may still be accepted by whoever is asked next.
        let mut failed = None;
        match self.by_bootstrap_token(token, now).await {
            Ok(Some(user)) => return self.for_anybody(user, wanted),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        if let Some(user) = self
            .static_tokens
            .as_ref()
            .and_then(|tokens| tokens.find(token))
        {
            return self.for_anybody(user.clone().authenticated(), wanted);
        }
        if let Some(verifier) = &self.service_accounts
            && verifier.claims_to_be_ours(token.expose())
        {
            match verifier.verify(token.expose(), wanted, now) {
                Ok(verified) => {
                    return Ok(Reviewed {
                        user: verified.user.authenticated(),
                        audiences: verified.audiences,
                    });
                }
                Err(refusal) => {
                    failed = Some(AuthnError::Refused {
                        credential: CredentialKind::ServiceAccountToken,
                        reason: refusal.into(),
                    });
                }
            }
        }
        let Some(reviews) = &self.token_review else {
            return Err(failed.unwrap_or_else(|| AuthnError::bearer(Refusal::Unknown)));
        };
        match reviews.review(token, wanted).await {
            Ok(Some((user, audiences))) => Ok(Reviewed {
                user: Arc::unwrap_or_clone(user).authenticated(),
                audiences,
            }),
            Ok(None) => Err(failed.unwrap_or(AuthnError::Refused {
                credential: CredentialKind::ReviewedToken,
                reason: Refusal::Denied,
            })),
            // Whoever might have accepted it could not be asked: that is the failure.
            Err(error) => Err(AuthnError::Unavailable {
                credential: CredentialKind::ReviewedToken,
                source: error.into(),
            }),
        }
    }

    /// `None` if the token has another form, or there is no store.
    async fn by_bootstrap_token(
        &self,
        token: &BearerToken,
        now: SystemTime,
    ) -> Result<Option<UserInfo>, AuthnError> {
        let (Some(store), Ok(presented)) = (&self.bootstrap, token.expose().parse()) else {
            return Ok(None);
        };
        let presented: BootstrapToken = presented;
        let (store, id) = (store.clone(), presented.id.clone());
        let found = tokio::task::spawn_blocking(move || store.find(&id)).await;
        let unavailable = |source| AuthnError::Unavailable {
            credential: CredentialKind::BootstrapToken,
            source,
        };
        let id = presented.id.clone();
        let outcome = match found {
            Err(died) => return Err(unavailable(died.into())),
            Ok(Err(StoreError::Record(_, problem))) => Err(bootstrap::Refusal::Broken(id, problem)),
            Ok(Err(error)) => return Err(unavailable(error.into())),
            Ok(Ok(None)) => Err(bootstrap::Refusal::Unknown(id)),
            Ok(Ok(Some(record))) => record.authenticate(&presented, now),
        };
        match outcome {
            Ok(user) => Ok(Some(user.authenticated())),
            Err(refusal) => Err(AuthnError::Refused {
                credential: CredentialKind::BootstrapToken,
                reason: refusal.into(),
            }),
        }
    }

    /// A token that names no audience is for ours (apiserver `WrapAudienceAgnosticToken`). Without any
    /// of our own we know nothing of audiences: the answer names none, and the asker decides, which
    /// is what a TokenReview without audiences means.
    fn for_anybody(&self, user: UserInfo, wanted: &[String]) -> Result<Reviewed, AuthnError> {
        if wanted.is_empty() || self.audiences.is_empty() {
            return Ok(Reviewed {
                user,
                audiences: self.audiences.clone(),
            });
        }
        let both = wanted.iter().filter(|one| self.audiences.contains(one));
        let audiences: Vec<String> = both.cloned().collect();
        if audiences.is_empty() {
            return Err(AuthnError::bearer(Refusal::Audience {
                accepted: self.audiences.join(", "),
                wanted: wanted.join(", "),
            }));
        }
        Ok(Reviewed { user, audiences })
    }
}

/// Prepares the documents that the first issuer's name leads to. One that is no https URL leads
/// nowhere, which is no mistake: tokens of it are verified all the same.
fn publish(
    accounts: &ServiceAccountSettings,
    verifier: &Verifier,
) -> Result<Option<Arc<Discovery>>, DiscoveryError> {
    let Some(issuer) = accounts.issuers.first() else {
        return Ok(None);
    };
    match Discovery::new(issuer, accounts.jwks_uri.as_deref(), verifier.keys()) {
        Ok(discovery) => Ok(Some(Arc::new(discovery))),
        Err(DiscoveryError::Issuer(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
