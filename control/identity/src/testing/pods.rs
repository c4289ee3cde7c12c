//! Tokens of pods, and what an API server of before 1.30 says of them.

use super::apiserver::{Asked, Told};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// A token of a pod of an account, as `NAMESPACE:NAME`; nobody has signed it.
pub fn token(audience: &str, account: &str, pod: &str) -> String {
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = part(json!({"alg": "RS256", "kid": "k"}));
    let sub = format!("system:serviceaccount:{account}");
    let payload = part(json!({"aud": [audience], "sub": sub, "pod": pod}));
    format!("{head}.{payload}.{}", part(json!("signature")))
}

/// Believes every such token. The pod `agent-NODE` runs on that node.
pub fn answer(asked: &Asked) -> Told {
    if let Some((_, pod)) = asked.path.split_once("/pods/") {
        let body = json!({
            "metadata": {"name": pod, "uid": format!("uid-{pod}")},
            "spec": {"serviceAccountName": "agents", "nodeName": pod.strip_prefix("agent-")},
        });
        return Told::Says(200, body);
    }
    let spec = &asked.body["spec"];
    let claims = claims(spec["token"].as_str().unwrap_or_default());
    let audiences: Vec<&Value> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|audience| claims["aud"][0] == **audience)
        .collect();
    let pod = claims["pod"].as_str().unwrap_or_default();
    let status = json!({
        "authenticated": !audiences.is_empty(),
        "audiences": audiences,
        "user": {
            "username": claims["sub"],
            "extra": {
                "authentication.kubernetes.io/pod-name": [pod],
                "authentication.kubernetes.io/pod-uid": [format!("uid-{pod}")],
            },
        },
    });
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status
    });
    Told::Says(201, body)
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL_NOPAD
        .decode(payload.as_bytes())
        .unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}
