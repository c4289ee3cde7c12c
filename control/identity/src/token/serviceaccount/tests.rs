use super::*;
use crate::pki::testing::now;
use crate::token::Cause;
use crate::token::jwt::testing::{key, keys};
use crate::token::jwt::{Algorithm, JwkSet, JwtError, PublicKey, SigningKey};
use crate::user::UserInfo;
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ISSUER: &str = "https://kubernetes.default.svc";

fn object(name: &str) -> ObjectRef {
    ObjectRef {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
    }
}

fn request() -> MintRequest {
    MintRequest {
        namespace: "prod".to_owned(),
        account: object("web"),
        audiences: vec![ISSUER.to_owned()],
        lifetime: Duration::from_secs(3600),
        bound: Some(BoundObject::Pod {
            pod: object("web-0"),
            node: Some(object("worker-3")),
        }),
    }
}

fn verifier(keys: &[&SigningKey]) -> Verifier {
    let keys: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
    Verifier::new(keys, vec![ISSUER.to_owned()], Vec::new(), DEFAULT_LEEWAY)
}

/// A properly signed token of these claims, changed.
fn token_with(key: &SigningKey, change: impl FnOnce(&mut Value)) -> String {
    let minted = mint(key, ISSUER, &request(), now()).unwrap();
    let mut claims = json!(minted.claims);
    change(&mut claims);
    key.sign(&claims).unwrap().to_string()
}

fn es256() -> SigningKey {
    key(Algorithm::Es256).unwrap()
}

#[test]
fn minted_token_of_each_algorithm_names_its_account_pod_and_node() {
    for key in keys() {
        let minted = mint(&key, ISSUER, &request(), now()).unwrap();
        let verified = verifier(&[&key])
            .verify(minted.token.expose(), &[], now())
            .unwrap();
        assert_eq!(verified.claims, minted.claims);
        assert_eq!(verified.kid, key.public().kid());
        assert_eq!(verified.audiences, [ISSUER]);
        assert!(!verified.stale);
        let jti = minted.claims.jti.unwrap();
        let extra = |key: &str, value: &str| {
            (
                format!("authentication.kubernetes.io/{key}"),
                vec![value.to_owned()],
            )
        };
        let expected = UserInfo {
            username: "system:serviceaccount:prod:web".to_owned(),
            uid: "uid-of-web".to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                "system:serviceaccounts:prod".to_owned(),
            ],
            extra: BTreeMap::from([
                extra("credential-id", &format!("JTI={jti}")),
                extra("pod-name", "web-0"),
                extra("pod-uid", "uid-of-web-0"),
                extra("node-name", "worker-3"),
                extra("node-uid", "uid-of-worker-3"),
            ]),
        };
        assert_eq!(verified.user, expected);
    }
}

#[test]
fn mint_claims_are_those_of_the_api_server() {
    let key = es256();
    let mut request = request();
    request.bound = None;
    let minted = mint(&key, ISSUER, &request, now()).unwrap();
    let mut claims = json!(minted.claims);
    let jti = claims["jti"].take();
    let jti = jti.as_str().unwrap();
    assert_eq!(jti.len(), 36);
    assert_eq!((&jti[14..15], jti.matches('-').count()), ("4", 4));
    let second = now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expected = json!({
        "aud": [ISSUER], "iss": ISSUER, "sub": "system:serviceaccount:prod:web",
        "iat": second, "nbf": second, "exp": second + 3600, "jti": null,
        "kubernetes.io": {
            "namespace": "prod",
            "serviceaccount": {"name": "web", "uid": "uid-of-web"}
        }
    });
    assert_eq!(claims, expected);
    let again = mint(&key, ISSUER, &request, now()).unwrap();
    assert_ne!(again.claims.jti.unwrap(), jti);
}

#[test]
fn mint_tells_everything_that_is_wrong_at_once() {
    let bad = MintRequest {
        namespace: "a.b/c".to_owned(),
        account: ObjectRef {
            name: "Web".to_owned(),
            uid: String::new(),
        },
        audiences: vec![String::new()],
        lifetime: Duration::from_secs(599),
        bound: Some(BoundObject::Secret(ObjectRef {
            name: "-s".to_owned(),
            uid: "a b".to_owned(),
        })),
    };
    let error = mint(&es256(), "", &bad, now()).unwrap_err().to_string();
    for words in [
        "the issuer is empty",
        "the namespace \"a.b/c\" is not a name",
        "the account's name \"Web\" is not a name",
        "the account's UID is missing",
        "the Secret's name \"-s\" is not a name",
        "the Secret's UID is missing or no UID",
        "lifetime of 599 s is out of range",
        "audience 1 is empty",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let mut none = request();
    none.audiences.clear();
    none.lifetime = MAX_LIFETIME + Duration::from_secs(1);
    let error = mint(&es256(), ISSUER, &none, now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no audience"), "{error}");
    assert!(error.contains("lifetime of 4294967297 s"), "{error}");
    let mut long = request();
    long.audiences = vec!["a".to_owned(); 33];
    let error = mint(&es256(), ISSUER, &long, now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 32 audiences"), "{error}");
}

#[test]
fn verify_refuses_what_is_wrong_and_names_the_cause() {
    let key = es256();
    let verifier = verifier(&[&key]);
    let second = NumericDate::of(now()).0;
    let table: Vec<(&str, String, Cause, &str)> = vec![
        (
            "expired",
            token_with(&key, |c| c["exp"] = json!(second - 61)),
            Cause::Expiry,
            "expired 2026-11-22T07:58:59Z, 61 s ago",
        ),
        (
            "expired for long",
            token_with(&key, |c| c["exp"] = json!(0)),
            Cause::Expiry,
            "expired 1970-01-01T00:00:00Z",
        ),
        (
            "not yet",
            token_with(&key, |c| c["nbf"] = json!(second + 61)),
            Cause::Clock,
            "nbf is 2026-11-22T08:01:01Z, 61 s ahead of this machine's clock",
        ),
        (
            "of the future",
            token_with(&key, |c| c["iat"] = json!(second + 3600)),
            Cause::Clock,
            "iat is 2026-11-22T09:00:00Z, 3600 s ahead",
        ),
        (
            "no expiry",
            token_with(&key, |c| {
                c.as_object_mut().unwrap().remove("exp");
            }),
            Cause::Token,
            "has no expiry",
        ),
        (
            "null expiry",
            token_with(&key, |c| c["exp"] = Value::Null),
            Cause::Token,
            "has no expiry",
        ),
        (
            "expiry as text",
            token_with(&key, |c| c["exp"] = json!("2030")),
            Cause::Token,
            "payload is not the JSON",
        ),
        (
            "negative expiry",
            token_with(&key, |c| c["exp"] = json!(-1)),
            Cause::Token,
            "payload is not the JSON",
        ),
        (
            "expiry beyond all calendars",
            token_with(&key, |c| c["exp"] = json!(1e300)),
            Cause::Token,
            "payload is not the JSON",
        ),
        (
            "other audience",
            token_with(&key, |c| c["aud"] = json!(["vault"])),
            Cause::Audience,
            "is for vault, not for https://kubernetes.default.svc",
        ),
        (
            "no audience",
            token_with(&key, |c| {
                c.as_object_mut().unwrap().remove("aud");
            }),
            Cause::Audience,
            "is for nobody",
        ),
        (
            "other issuer",
            token_with(&key, |c| c["iss"] = json!("https://other.example")),
            Cause::Token,
            "is issued by \"https://other.example\"",
        ),
        (
            "legacy",
            token_with(&key, |c| c["iss"] = json!("kubernetes/serviceaccount")),
            Cause::Token,
            "legacy token of a Secret",
        ),
        (
            "no issuer",
            token_with(&key, |c| {
                c.as_object_mut().unwrap().remove("iss");
            }),
            Cause::Token,
            "payload is not the JSON",
        ),
        (
            "other subject",
            token_with(&key, |c| {
                c["sub"] = json!("system:serviceaccount:kube-system:admin");
            }),
            Cause::Token,
            "is not the service account of its private claims",
        ),
        (
            "subject of no account",
            token_with(&key, |c| c["sub"] = json!("system:admin")),
            Cause::Token,
            "\"system:admin\" is not the service account",
        ),
        (
            "no private claims",
            token_with(&key, |c| {
                c.as_object_mut().unwrap().remove("kubernetes.io");
            }),
            Cause::Token,
            "names no service account",
        ),
        (
            "empty account",
            token_with(&key, |c| {
                c["kubernetes.io"]["serviceaccount"]["name"] = json!("");
            }),
            Cause::Token,
            "names no service account",
        ),
        (
            "other key",
            token_with(&es256(), |_| ()),
            Cause::Signature,
            "which is not among the configured keys",
        ),
    ];
    for (name, token, cause, words) in table {
        let refusal = verifier.verify(&token, &[], now()).unwrap_err();
        let message = refusal.to_string();
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(refusal.cause(), cause, "{name}");
        assert!(!message.contains(&token), "{name} quotes the token");
    }
}

#[test]
fn verify_grants_the_leeway_and_not_a_second_more() {
    let key = es256();
    let verifier = verifier(&[&key]);
    let second = NumericDate::of(now()).0;
    for (field, inside, outside) in [
        ("exp", second - 60, second - 61),
        ("nbf", second + 60, second + 61),
        ("iat", second + 60, second + 61),
    ] {
        let token = |value: i64| token_with(&key, |c| c[field] = json!(value));
        assert!(
            verifier.verify(&token(inside), &[], now()).is_ok(),
            "{field}"
        );
        assert!(
            verifier.verify(&token(outside), &[], now()).is_err(),
            "{field}"
        );
    }
}

#[test]
fn verify_while_the_clock_jumps_follows_the_clock() {
    let key = es256();
    let verifier = verifier(&[&key]);
    let token = token_with(&key, |_| ());
    let at = |seconds: i64| {
        let step = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 {
            now() - step
        } else {
            now() + step
        };
        verifier
            .verify(&token, &[], at)
            .map(|_| ())
            .map_err(|refusal| refusal.cause())
    };
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(3660), Ok(()));
    assert_eq!(at(3661), Err(Cause::Expiry));
    assert_eq!(at(-61), Err(Cause::Clock));
    assert_eq!(at(-1_700_000_000), Err(Cause::Clock));
    assert_eq!(at(0), Ok(()));
    let before_1970 = std::time::UNIX_EPOCH - Duration::from_secs(5);
    let refused = verifier.verify(&token, &[], before_1970).unwrap_err();
    assert_eq!(refused.cause(), Cause::Clock);
}

#[test]
fn verify_reads_fractions_of_seconds_and_a_single_audience() {
    let key = es256();
    let second = NumericDate::of(now()).0;
    let token = token_with(&key, |c| {
        c["exp"] = json!(second as f64 + 10.5);
        c["aud"] = json!(ISSUER);
    });
    let verified = verifier(&[&key]).verify(&token, &[], now()).unwrap();
    assert_eq!(verified.claims.exp, Some(NumericDate(second + 10)));
}

#[test]
fn verify_answers_with_the_audiences_that_were_asked_for() {
    let key = es256();
    let verifier = verifier(&[&key]);
    let token = token_with(&key, |c| c["aud"] = json!(["vault", ISSUER, "registry"]));
    let ask = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        verifier
            .verify(&token, &wanted, now())
            .map(|verified| verified.audiences)
    };
    assert_eq!(ask(&[]).unwrap(), [ISSUER]);
    assert_eq!(
        ask(&["registry", "nobody", "vault"]).unwrap(),
        ["registry", "vault"]
    );
    assert_eq!(ask(&["nobody"]).unwrap_err().cause(), Cause::Audience);
}

#[test]
fn verify_of_an_extended_token_says_when_it_went_stale() {
    let key = es256();
    let second = NumericDate::of(now()).0;
    let verifier = verifier(&[&key]);
    let stale = |after: i64| {
        let token = token_with(&key, |c| c["kubernetes.io"]["warnafter"] = json!(after));
        verifier.verify(&token, &[], now()).unwrap().stale
    };
    assert!(stale(second - 1));
    assert!(!stale(second), "not before the second is over");
    assert!(!stale(second + 1));
}

#[test]
fn verify_during_a_rotation_takes_tokens_of_both_keys_and_afterwards_of_one() {
    let (old, new) = (es256(), key(Algorithm::Es384).unwrap());
    let before = token_with(&old, |_| ());
    let after = token_with(&new, |_| ());
    let both = verifier(&[&new, &old]);
    assert!(both.verify(&before, &[], now()).is_ok());
    assert!(both.verify(&after, &[], now()).is_ok());
    let one = verifier(&[&new]);
    assert!(one.verify(&after, &[], now()).is_ok());
    let refused = one.verify(&before, &[], now()).unwrap_err();
    assert!(matches!(refused, Refusal::Jwt(JwtError::UnknownKey(..))));
}

#[test]
fn claims_to_be_ours_leaves_foreign_tokens_to_others() {
    let key = es256();
    let verifier = verifier(&[&key]);
    assert!(verifier.claims_to_be_ours(&token_with(&es256(), |_| ())));
    assert!(verifier.claims_to_be_ours(&token_with(&key, |c| {
        c["iss"] = json!("kubernetes/serviceaccount");
    })));
    assert!(!verifier.claims_to_be_ours(&token_with(&key, |c| c["iss"] = json!("x"))));
    assert!(!verifier.claims_to_be_ours("31ada4fd-adec-460c-809a-9e56ceb75269"));
}

async fn get(discovery: &Discovery, method: Method, path: &str) -> (StatusCode, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap();
    let response = discovery.handle(request).await;
    let status = response.status();
    let headers = format!("{:?}", response.headers());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn discovery_serves_both_documents_as_the_api_server_does() {
    let keys: Vec<PublicKey> = [es256(), key(Algorithm::Es384).unwrap()]
        .iter()
        .map(|key| key.public().clone())
        .collect();
    let discovery = Discovery::new(ISSUER, None, &keys).unwrap();
    let path = "/.well-known/openid-configuration";
    let (status, headers, body) = get(&discovery, Method::GET, path).await;
    assert_eq!(status, 200);
    assert!(headers.contains("public, max-age=3600"), "{headers}");
    assert!(headers.contains("\"application/json\""), "{headers}");
    let expected = json!({
        "issuer": ISSUER,
        "jwks_uri": "https://kubernetes.default.svc/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "ES384"],
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    let (status, headers, body) = get(&discovery, Method::GET, "/openid/v1/jwks").await;
    assert_eq!(status, 200);
    assert!(headers.contains("application/jwk-set+json"), "{headers}");
    assert_eq!(JwkSet::parse(body.as_bytes()).unwrap(), keys);
    let jwks: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(jwks["keys"][0]["use"], "sig");
    assert_eq!(jwks["keys"][1]["crv"], "P-384");
    let (status, headers, _) = get(&discovery, Method::POST, "/openid/v1/jwks").await;
    assert_eq!(status, 405);
    assert!(headers.contains("GET, HEAD"), "{headers}");
    let (status, ..) = get(&discovery, Method::GET, "/openid/v1/jwks/").await;
    assert_eq!(status, 404);
    let (status, ..) = get(&discovery, Method::GET, "/").await;
    assert_eq!(status, 404);
}

#[test]
fn discovery_refuses_issuers_that_nobody_can_follow() {
    let keys = [es256().public().clone()];
    for issuer in [
        "",
        "kubernetes",
        "http://a.example",
        "https://a.example?x=1",
        "https://",
    ] {
        let error = Discovery::new(issuer, None, &keys).unwrap_err();
        assert!(matches!(error, DiscoveryError::Issuer(_)), "{issuer}");
    }
    let error = Discovery::new(ISSUER, Some("http://a.example/k"), &keys).unwrap_err();
    assert!(error.to_string().contains("use an https URL"));
}
