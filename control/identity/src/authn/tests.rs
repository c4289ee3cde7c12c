//! All sources of tokens together.

use super::*;
use crate::pem::FileRef;
use crate::pki::testing::now;
use crate::token::bootstrap::{Expiry, Record, Store, Usages};
use crate::token::jwt::SigningKey;
use crate::token::jwt::testing::key;
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use crate::token::serviceaccount::{DEFAULT_LEEWAY, MintRequest, ObjectRef, mint};
use crate::token::{BearerToken, Cause};
use crate::user::{ALL_AUTHENTICATED, UserInfo};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const ISSUER: &str = "https://kubernetes.default.svc";
const STATIC: &str = "31ada4fd-adec-460c-809a-9e56ceb75269";
const BOOTSTRAP: &str = "abcdef.0123456789abcdef";

struct Files {
    dir: tempfile::TempDir,
    key: SigningKey,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
            key: key(crate::token::jwt::Algorithm::Es256).unwrap(),
        };
        fs::write(files.path("tokens.csv"), format!("{STATIC},jane,u-1,dev\n")).unwrap();
        fs::write(files.path("sa.pub"), files.key.public().to_pem()).unwrap();
        files.store().create(&record(BOOTSTRAP)).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::new(self.path("bootstrap"))
    }

    fn settings(&self) -> Settings {
        Settings {
            bootstrap_token_dir: Some(self.path("bootstrap")),
            token_auth_file: Some(FileRef::new("tokenAuthFile", self.path("tokens.csv"))),
            service_accounts: Some(ServiceAccountSettings {
                issuers: vec![ISSUER.to_owned()],
                key_files: vec![FileRef::new(
                    "serviceAccounts.keyFiles[0]",
                    self.path("sa.pub"),
                )],
                leeway: DEFAULT_LEEWAY,
                jwks_uri: None,
            }),
            ..Settings::default()
        }
    }

    fn authenticator(&self) -> Arc<Authenticator> {
        let sources = Sources::load(&self.settings()).unwrap();
        Arc::new(Authenticator::new(sources))
    }
}

fn record(token: &str) -> Record {
    Record {
        token: token.parse().unwrap(),
        expiry: Expiry::At(crate::pki::testing::NOW + Duration::from_secs(60)),
        usages: Usages {
            authentication: true,
            signing: true,
        },
        groups: Vec::new(),
        bound: crate::token::bootstrap::Bound::default(),
        description: String::new(),
    }
}

fn minted(key: &SigningKey) -> BearerToken {
    let request = MintRequest {
        namespace: "prod".to_owned(),
        account: ObjectRef {
            name: "web".to_owned(),
            uid: "u-web".to_owned(),
        },
        audiences: vec![ISSUER.to_owned()],
        lifetime: Duration::from_secs(600),
        bound: None,
    };
    mint(key, ISSUER, &request, now()).unwrap().token
}

async fn who(
    authenticator: &Authenticator,
    token: &str,
    at: SystemTime,
) -> Result<UserInfo, AuthnError> {
    let header = format!("Bearer {token}");
    let header = Some(header.as_bytes());
    authenticator.authenticate(None, header, at).await
}

#[tokio::test]
async fn token_of_each_kind_gives_its_user_and_the_group_of_all() {
    let files = Files::new();
    let authenticator = files.authenticator();
    for (token, name, group) in [
        (BOOTSTRAP, "system:bootstrap:abcdef", "system:bootstrappers"),
        (STATIC, "jane", "dev"),
        (
            minted(&files.key).expose(),
            "system:serviceaccount:prod:web",
            "system:serviceaccounts:prod",
        ),
    ] {
        let user = who(&authenticator, token, now()).await.unwrap();
        assert_eq!(user.username, name);
        assert!(
            user.is_in(group) && user.is_in(ALL_AUTHENTICATED),
            "{user:?}"
        );
    }
}

#[tokio::test]
async fn token_that_is_refused_tells_the_log_why_and_the_caller_nothing() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let later = now() + Duration::from_secs(7200);
    let good = minted(&files.key);
    let foreign = minted(&key(crate::token::jwt::Algorithm::Es256).unwrap());
    let mut signing = record("ffffff.0123456789abcdef");
    signing.usages.authentication = false;
    files.store().create(&signing).unwrap();
    let broken = files.path("bootstrap/bootstrap-token-broken.yaml");
    let text = "metadata: {name: bootstrap-token-broken}\ntype: Opaque\n";
    fs::write(broken, text).unwrap();
    for (token, at, cause, words) in [
        (
            "nobody",
            now(),
            Cause::Token,
            "bearer token refused: no configured source",
        ),
        (
            "aaaaaa.0123456789abcdef",
            now(),
            Cause::Token,
            "there is no bootstrap token aaaaaa",
        ),
        (
            "abcdef.ffffffffffffffff",
            now(),
            Cause::Token,
            "abcdef has another secret",
        ),
        (
            BOOTSTRAP,
            later,
            Cause::Expiry,
            "bootstrap token abcdef expired 2026-11-22T08:01:00Z",
        ),
        (
            "ffffff.0123456789abcdef",
            now(),
            Cause::Token,
            "ffffff is not for authentication",
        ),
        (
            "broken.0123456789abcdef",
            now(),
            Cause::Token,
            "the Secret of bootstrap token broken",
        ),
        (
            good.expose(),
            later,
            Cause::Expiry,
            "service-account token refused: the token expired",
        ),
        (
            foreign.expose(),
            now(),
            Cause::Signature,
            "not among the configured keys",
        ),
    ] {
        let error = who(&authenticator, token, at).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(words), "{words}: {message}");
        assert_eq!(error.cause(), cause, "{message}");
        assert_eq!(error.public_message(), "Unauthorized");
        assert!(!message.contains(token), "{message}");
        assert!(!message.contains("0123456789abcdef"), "{message}");
    }
    // Who asks about another's token learns more only if it is genuine.
    let words = async |token: &str, at| {
        let token = BearerToken::new(token).unwrap();
        authenticator
            .review(&token, &[], at)
            .await
            .unwrap_err()
            .words_for_reviewer()
    };
    assert_eq!(words(good.expose(), later).await, "the token has expired");
    assert_eq!(words(BOOTSTRAP, later).await, "the token has expired");
    assert_eq!(
        words("abcdef.ffffffffffffffff", later).await,
        "the token is not accepted"
    );
    assert_eq!(
        words(foreign.expose(), later).await,
        "the token is not accepted"
    );
    let before = now() - Duration::from_secs(3600);
    assert_eq!(
        words(good.expose(), before).await,
        "the token is not valid yet"
    );
}

#[tokio::test]
async fn bootstrap_token_works_from_its_creation_to_its_deletion_without_a_reload() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let token = "zzzzzz.0123456789abcdef";
    assert!(who(&authenticator, token, now()).await.is_err());
    files.store().create(&record(token)).unwrap();
    assert!(who(&authenticator, token, now()).await.is_ok());
    files.store().delete(&"zzzzzz".parse().unwrap()).unwrap();
    assert!(who(&authenticator, token, now()).await.is_err());
}

#[tokio::test]
async fn static_token_may_have_the_form_of_a_bootstrap_token() {
    let files = Files::new();
    let token = "static.0123456789abcdef";
    fs::write(files.path("tokens.csv"), format!("{token},jane,1\n")).unwrap();
    let user = who(&files.authenticator(), token, now()).await.unwrap();
    assert_eq!(user.username, "jane");
}

#[tokio::test]
async fn token_without_audience_is_for_ours_or_left_to_the_asker() {
    let files = Files::new();
    let token = BearerToken::new(STATIC).unwrap();
    let ask = async |audiences: &[&str], wanted: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let mut settings = files.settings();
        settings.service_accounts = None;
        settings.api_audiences = own(audiences);
        let authenticator = Authenticator::new(Sources::load(&settings).unwrap());
        let reviewed = authenticator.review(&token, &own(wanted), now()).await;
        reviewed
            .map(|reviewed| reviewed.audiences)
            .map_err(|error| error.cause())
    };
    assert_eq!(
        ask(&["a", "b"], &[]).await,
        Ok(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(
        ask(&["a", "b"], &["c", "b"]).await,
        Ok(vec!["b".to_owned()])
    );
    assert_eq!(ask(&["a"], &["c"]).await, Err(Cause::Audience));
    assert_eq!(
        ask(&[], &["c"]).await,
        Ok(vec![]),
        "it is the asker's to decide"
    );
}

#[test]
fn load_tells_every_source_that_is_wrong() {
    let files = Files::new();
    fs::write(files.path("tokens.csv"), "a,b\n").unwrap();
    fs::write(files.path("sa.pub"), "").unwrap();
    let mut settings = files.settings();
    settings.token_review = Some(TokenReviewSettings {
        server: "http://a".to_owned(),
        ca_file: FileRef::new("tokenReview.caFile", files.path("absent.crt")),
        credential: ReviewCredential::Token(FileRef::new("", files.path("token"))),
        timeout: Duration::from_secs(1),
        authorized_ttl: Duration::ZERO,
        unauthorized_ttl: Duration::ZERO,
    });
    let errors = Sources::load(&settings).unwrap_err().to_string();
    for words in [
        "tokens.csv line 1, column 1: the record has 2 columns",
        "sa.pub (serviceAccounts.keyFiles[0]): holds no key",
        "tokenReview.server is not an https URL",
    ] {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    assert_eq!(errors.lines().count(), 3, "{errors}");
}

#[tokio::test]
async fn sources_that_are_published_are_in_force_and_bad_ones_are_not_loaded() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let reload = || Sources::load(&files.settings()).map(|sources| authenticator.publish(sources));

    let second = "second-token-of-the-file-0123456789";
    fs::write(files.path("tokens.csv"), format!("{second},joe,2\n")).unwrap();
    reload().unwrap();
    assert!(who(&authenticator, second, now()).await.is_ok());
    assert!(
        who(&authenticator, STATIC, now()).await.is_err(),
        "the old one is gone"
    );

    // A rotation: the next key is trusted beside the old one before anybody signs with it.
    let next = key(crate::token::jwt::Algorithm::Es384).unwrap();
    let both = format!("{}{}", next.public().to_pem(), files.key.public().to_pem());
    let token = minted(&next);
    assert!(who(&authenticator, token.expose(), now()).await.is_err());
    fs::write(files.path("sa.pub"), both).unwrap();
    reload().unwrap();
    for token in [token, minted(&files.key)] {
        assert!(who(&authenticator, token.expose(), now()).await.is_ok());
    }

    fs::write(files.path("tokens.csv"), "broken\n").unwrap();
    reload().unwrap_err();
    assert!(
        who(&authenticator, second, now()).await.is_ok(),
        "the last good one stays"
    );
}
