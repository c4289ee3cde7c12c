use super::*;
use crate::authn::{CertificateRefusal, Refusal};
use crate::pki::testing::{Recipe, authority, client, now};
use time::Duration;

fn chain(recipe: Recipe) -> Vec<CertificateDer<'static>> {
    vec![recipe.signed_by(&authority("ca").self_signed()).der()]
}

fn by_chain(recipe: Recipe) -> Result<UserInfo, AuthnError> {
    let chain = chain(recipe);
    block_on(Authenticator::new(Sources::default()).authenticate(Some(&chain), None, now()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[test]
fn certificate_common_name_and_organization_become_user_and_groups() {
    let mut recipe = client("system:node:worker-3");
    recipe.organizations = vec!["system:nodes"];
    let user = by_chain(recipe).unwrap();
    assert_eq!(user.username, "system:node:worker-3");
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    assert_eq!(user.uid, "");
    let id = &user.extra["authentication.kubernetes.io/credential-id"][0];
    let hex = id.strip_prefix("X509SHA256=").unwrap();
    assert_eq!(hex.len(), 64);
}

#[test]
fn certificate_that_names_nobody_or_is_not_valid_now_is_refused() {
    let hours = Duration::hours;
    let table: [(Recipe, &str); 3] = [
        (client(""), "has no common name"),
        (
            client("jane").valid(hours(-2), hours(-1)),
            "CN=jane expired 2026-11-22T07:00:00Z; renew it",
        ),
        (
            client("jane").valid(hours(1), hours(2)),
            "CN=jane is valid from 2026-11-22T09:00:00Z; check the clocks",
        ),
    ];
    for (recipe, words) in table {
        let error = by_chain(recipe).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("client certificate refused: "),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
        assert_eq!(error.public_message(), "Unauthorized");
    }
    let nonsense = [CertificateDer::from(vec![0x30, 0x00])];
    let authenticator = Authenticator::new(Sources::default());
    for chain in [&nonsense[..], &[]] {
        let error = block_on(authenticator.authenticate(Some(chain), None, now())).unwrap_err();
        let AuthnError::Refused { reason, .. } = &error else {
            panic!("{error}")
        };
        let unreadable = matches!(
            reason,
            Refusal::Certificate(CertificateRefusal::Unreadable(_))
        );
        assert!(unreadable, "{error}");
    }
}

#[test]
fn certificate_wins_over_a_token_and_a_bad_one_leaves_the_token_to_decide() {
    let authenticator = Authenticator::new(Sources::default());
    let bearer: &[u8] = b"Bearer nobody-knows-it";
    let good = chain(client("jane"));
    let user = block_on(authenticator.authenticate(Some(&good), Some(bearer), now())).unwrap();
    assert_eq!(user.username, "jane");
    let expired = chain(client("jane").valid(Duration::hours(-2), Duration::hours(-1)));
    let error =
        block_on(authenticator.authenticate(Some(&expired), Some(bearer), now())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no configured source knows the token"),
        "{error}"
    );
}

#[test]
fn request_without_any_credential_is_refused() {
    let authenticator = Authenticator::new(Sources::default());
    let error = block_on(authenticator.authenticate(None, None, now())).unwrap_err();
    assert!(matches!(error, AuthnError::Missing));
    assert_eq!(error.public_message(), "Unauthorized");
    assert!(error.to_string().contains("anonymous requests are refused"));
}

#[test]
fn header_that_is_no_bearer_token_is_refused_without_quoting_it() {
    let authenticator = Authenticator::new(Sources::default());
    for value in ["Basic c2VjcmV0", "Bearer", "Bearer \"c2VjcmV0 c2VjcmV0\""] {
        let header = Some(value.as_bytes());
        let error = block_on(authenticator.authenticate(None, header, now())).unwrap_err();
        assert_eq!(error.public_message(), "Unauthorized");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }
}
