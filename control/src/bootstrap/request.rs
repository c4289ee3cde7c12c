//! Asks for a certificate, and waits for it.

use super::client::{Answer, Client};
use super::error::BootstrapError;
use data_encoding::BASE64;
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pem::Role;
use eyesplice_identity::pki::alternative_names;
use eyesplice_identity::x509::Signer;
use hyper::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// The list of CSRs.
pub(super) const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Between two looks at a CSR, at first and at most: most are signed within a second.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What a certificate shall be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) signer: Signer,
    pub(crate) common_name: String,
    pub(crate) organization: &'static str,
    pub(crate) names: Vec<HostAddress>,
    /// The longest lifetime that is of use; without it, the signer's.
    pub(crate) lifetime: Option<Duration>,
}

impl Wish {
    /// A node's client certificate.
    pub(crate) fn node(node: &str) -> Self {
        Self {
            signer: Signer::KubeletClient,
            common_name: format!("system:node:{node}"),
            organization: "system:nodes",
            names: Vec::new(),
            lifetime: None,
        }
    }
}

/// A key with its certificate.
pub(crate) struct Issued {
    /// PEM, the owner's own first.
    pub(crate) certificate: String,
    /// PKCS#8 PEM.
    pub(crate) key: Zeroizing<String>,
    /// The public key.
    pub(crate) spki: Vec<u8>,
}

/// A key and the CSR object for it.
pub(super) struct Asked {
    pub(super) key: KeyPair,
    pub(super) body: Value,
}

/// Makes a key and asks for its certificate until there is one, or a reason against it.
pub(crate) async fn certificate(
    client: &Client,
    wish: &Wish,
    patience: Duration,
) -> Result<Issued, BootstrapError> {
    let Asked { key, body } = ask(wish)?;
    let created = client.ask(Method::POST, PATH, Some(&body)).await?;
    expect(client, &created, 201)?;
    let name = created.body["metadata"]["name"].as_str();
    let name = name.ok_or_else(|| BootstrapError::Answer(client.server()))?;
    let path = format!("{PATH}/{name}");
    let deadline = Instant::now() + patience;
    let mut pause = LOOK.0;
    loop {
        let seen = client.ask(Method::GET, &path, None).await?;
        expect(client, &seen, 200)?;
        if let Some(certificate) = judge(name, &seen.body)? {
            return Ok(Issued {
                certificate,
                key: Zeroizing::new(key.serialize_pem()),
                spki: rcgen::PublicKeyData::subject_public_key_info(&key),
            });
        }
        if Instant::now() >= deadline {
            return Err(BootstrapError::Pending(name.to_owned(), patience));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

/// Makes a fresh key and the request for it, as a kubelet does.
pub(super) fn ask(wish: &Wish) -> Result<Asked, BootstrapError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(BootstrapError::Key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, wish.organization);
    params
        .distinguished_name
        .push(DnType::CommonName, wish.common_name.clone());
    params.subject_alt_names = alternative_names(&wish.names).map_err(BootstrapError::Key)?;
    let request = params
        .serialize_request(&key)
        .and_then(|request| request.pem());
    let request = request.map_err(BootstrapError::Key)?;
    let usage = match wish.signer.role() {
        Role::Client => "client auth",
        Role::Server => "server auth",
    };
    let mut body = json!({
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"generateName": "csr-"},
        "spec": {
            "request": BASE64.encode(request.as_bytes()),
            "signerName": wish.signer.name(),
            "usages": ["digital signature", usage],
        },
    });
    if let Some(lifetime) = wish.lifetime {
        body["spec"]["expirationSeconds"] = lifetime.as_secs().into();
    }
    Ok(Asked { key, body })
}

/// Turns another answer than the one that is wanted into its reason.
pub(super) fn expect(client: &Client, answer: &Answer, code: u16) -> Result<(), BootstrapError> {
    let server = client.server();
    match answer.code {
        got if got == code && answer.body.is_object() => Ok(()),
        401 => Err(client.unauthorized()),
        got if got == code || !answer.body["message"].is_string() => {
            Err(BootstrapError::Answer(server))
        }
        got => Err(BootstrapError::Refused {
            server,
            code: got,
            message: answer.message(),
        }),
    }
}

/// Says what became of a CSR: a certificate in PEM, nothing yet, or why not.
fn judge(name: &str, object: &Value) -> Result<Option<String>, BootstrapError> {
    let status = &object["status"];
    let said = |kind: &str| {
        let conditions = status["conditions"].as_array()?;
        let condition = conditions
            .iter()
            .find(|condition| condition["type"] == kind)?;
        let message = condition["message"].as_str().unwrap_or("without a message");
        Some(eyesplice_identity::certificate::printable(message, 1024))
    };
    let name = name.to_owned();
    if let Some(message) = said("Denied") {
        return Err(BootstrapError::Denied(name, message));
    }
    if let Some(message) = said("Failed") {
        return Err(BootstrapError::Failed(name, message));
    }
    let certificate = status["certificate"].as_str();
    let pem = certificate.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    Ok(pem
        .and_then(|pem| String::from_utf8(pem).ok())
        .filter(|pem| !pem.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judge_reads_each_end_of_a_csr() {
        let with = |status: Value| judge("a", &json!({"status": status}));
        assert_eq!(with(json!({})).unwrap(), None);
        let approved = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        assert_eq!(with(approved).unwrap(), None);
        let issued = with(json!({"certificate": BASE64.encode(b"PEM")})).unwrap();
        assert_eq!(issued.as_deref(), Some("PEM"));
        for (kind, expected) in [
            ("Denied", "CSR a was denied: not\\u{7} you"),
            ("Failed", "CSR a failed: not\\u{7} you"),
        ] {
            let said = json!({"conditions": [{"type": kind, "message": "not\u{7} you"}]});
            assert_eq!(with(said).unwrap_err().to_string(), expected);
        }
    }
}
