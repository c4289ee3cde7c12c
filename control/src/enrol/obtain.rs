//! Makes sure of one certificate: looks at the file, asks if it is due, and writes what fits.

use super::want::Want;
use crate::bootstrap::{
    BootstrapError, Client, Issued, Next, Trusted, Wish, certificate, next, read_pod_token,
    read_token,
};
use crate::config::Identity;
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::file::Mode;
use eyesplice_identity::pem::{Credential, PrivateKey};
use eyesplice_identity::pki::{Expected, Flaw, unfit};
use eyesplice_identity::x509::Signer;
use eyesplice_identity::{file, pem};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long a CSR may wait for its approval; then another one is made.
const PATIENCE: Duration = Duration::from_secs(600);

/// Room for a key and a chain of ten RSA certificates.
const ROOM: usize = 32 << 10;

/// What is there now.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) renew_at: OffsetDateTime,
    /// It was asked for just now.
    pub(super) issued: bool,
}

/// Why a certificate is not there or not renewed.
#[derive(Debug)]
pub(super) struct Lack {
    pub(super) error: BootstrapError,
    /// Until when the old one is good, if there is one.
    pub(super) old_until: Option<OffsetDateTime>,
}

/// Makes sure that a certificate is there which need not be renewed yet.
pub(super) async fn obtain(
    identity: &Identity,
    want: &Want,
    now: SystemTime,
) -> Result<Kept, Lack> {
    let current = current(identity, want, now);
    let due = current
        .as_ref()
        .map(|credential| next(&credential.leaf, now.into()));
    if let Some(Next::Wait(renew_at)) = due {
        return Ok(Kept {
            renew_at,
            issued: false,
        });
    }
    let issued = ask(identity, want, current.as_ref(), now).await;
    let facts = issued.map_err(|error| Lack {
        error,
        old_until: current.map(|credential| credential.leaf.not_after),
    })?;
    let renew_at = match next(&facts, now.into()) {
        Next::Wait(at) => at,
        Next::Renew | Next::Expired | Next::NotYet => now.into(),
    };
    Ok(Kept {
        renew_at,
        issued: true,
    })
}

/// The certificate that is there, if it is what is wanted and its time is not over.
fn current(identity: &Identity, want: &Want, now: SystemTime) -> Option<Credential> {
    let credential =
        Credential::load(want.file.clone(), &want.file, want.wish.signer.role()).ok()?;
    let chain = &credential.certified.cert;
    let fits = check(identity, &want.wish, chain, &credential.leaf, now);
    fits.is_ok().then_some(credential)
}

/// Holds a certificate against what it is wanted for.
fn check(
    identity: &Identity,
    wish: &Wish,
    chain: &[CertificateDer<'static>],
    facts: &CertificateFacts,
    now: SystemTime,
) -> Result<(), BootstrapError> {
    let issuers = match &identity.issuer_ca_file {
        None => None,
        Some(file) => Some((file.to_string(), pem::certificates(file)?)),
    };
    let expected = Expected {
        role: wish.signer.role(),
        subject: Some((&wish.common_name, wish.organization)),
        names: Some(&wish.names),
        authorities: issuers.as_ref().map(|(file, all)| (&**file, &**all)),
    };
    first(unfit(&expected, chain, facts, now))
}

/// One flaw is enough, and the first the worst.
fn first(flaws: Vec<Flaw>) -> Result<(), BootstrapError> {
    match flaws.into_iter().next() {
        None => Ok(()),
        Some(flaw) => Err(BootstrapError::Role(flaw)),
    }
}

/// A client that shows the gateway's own certificate.
pub(crate) fn connect(identity: &Identity) -> Result<Client, BootstrapError> {
    let file = identity.client_file();
    let own = Credential::load(file.clone(), &file, Signer::GatewayClient.role())?;
    Client::with_certificate(identity.server.clone(), &trusted(identity)?, &own)
}

fn trusted(identity: &Identity) -> Result<Trusted, BootstrapError> {
    Ok(Trusted::load(&identity.ca_file)?)
}

async fn ask(
    identity: &Identity,
    want: &Want,
    current: Option<&Credential>,
    now: SystemTime,
) -> Result<CertificateFacts, BootstrapError> {
    // What could not be kept is not asked for: each try would leave a CSR at the server.
    file::create_dir(&identity.dir)?;
    file::check_room(&want.file.path, ROOM)?;
    let issued = match (want.wish.signer, current) {
        // The token says that the pod is still there, and on which node. No authority takes what an
        // agent has for a login.
        (Signer::AgentClient, _) => match &identity.token_file {
            Some(token) => with_pod_token(identity, want, &token.path).await?,
            None => return Err(BootstrapError::NoCredential(identity.dir.clone())),
        },
        // The token of a fleet proves less than a certificate of one's own.
        (Signer::GatewayClient, Some(own)) => {
            let client =
                Client::with_certificate(identity.server.clone(), &trusted(identity)?, own)?;
            match (
                certificate(&client, &want.wish, PATIENCE).await,
                &identity.token_file,
            ) {
                // A CA that was replaced: this certificate opens no door any more.
                (Err(BootstrapError::Unauthorized(..)), Some(token)) => {
                    with_token(identity, want, &token.path).await?
                }
                (issued, _) => issued?,
            }
        }
        (Signer::GatewayClient, None) => match &identity.token_file {
            Some(token) => with_token(identity, want, &token.path).await?,
            None => {
                let dir = identity.dir.clone();
                return Err(BootstrapError::NoCredential(dir));
            }
        },
        _ => certificate(&connect(identity)?, &want.wish, PATIENCE).await?,
    };
    store(identity, want, &issued, now)
}

async fn with_token(
    identity: &Identity,
    want: &Want,
    token: &Path,
) -> Result<Issued, BootstrapError> {
    let token = read_token(token)?;
    let client = Client::with_token(identity.server.clone(), &trusted(identity)?, token)?;
    certificate(&client, &want.wish, PATIENCE).await
}

async fn with_pod_token(
    identity: &Identity,
    want: &Want,
    token: &Path,
) -> Result<Issued, BootstrapError> {
    let token = read_pod_token(token)?;
    let client = Client::with_pod_token(identity.server.clone(), &trusted(identity)?, token)?;
    certificate(&client, &want.wish, PATIENCE).await
}

/// Judges what came, and puts it in place, whole.
fn store(
    identity: &Identity,
    want: &Want,
    issued: &Issued,
    now: SystemTime,
) -> Result<CertificateFacts, BootstrapError> {
    let (chain, facts, _) = read(issued)?;
    check(identity, &want.wish, &chain, &facts, now)?;
    let pair = Zeroizing::new(format!("{}{}", issued.certificate, *issued.key));
    file::replace(&want.file.path, pair.as_bytes(), Mode::Secret)?;
    Ok(facts)
}

/// Reads a chain that came; its first certificate is for the key that was made here.
pub(crate) fn read(
    issued: &Issued,
) -> Result<(Vec<CertificateDer<'static>>, CertificateFacts, PrivateKey), BootstrapError> {
    let chain = pem::certificates_of(issued.certificate.as_bytes()).ok();
    let facts = chain
        .as_ref()
        .and_then(|chain| CertificateFacts::read(chain.first()?).ok())
        .filter(|facts| facts.spki == issued.spki);
    let key = pem::key_of(issued.key.as_bytes()).ok();
    match (chain, facts, key) {
        (Some(chain), Some(facts), Some(key)) => Ok((chain, facts, key)),
        _ => Err(BootstrapError::NotOurs),
    }
}
