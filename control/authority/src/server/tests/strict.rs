//! What a request says and this server does not do is refused, and changes nothing.

use super::{Bench, PATH, body, serving};
use crate::object::{CertificateSigningRequest, encode};
use eyesplice_identity::protobuf::MEDIA_TYPE;
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::kubelet_client;
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json\r\n";

async fn with_csr() -> Bench {
    let bench = Bench::new().await;
    let created = bench.ask(&bench.node("w"), "POST", "", serving("a")).await;
    assert_eq!(created.code, 201, "{}", created.body);
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_acts_as_somebody_else_and_nothing_is_done() {
    let bench = with_csr().await;
    for header in [
        "Impersonate-User: jane",
        "Impersonate-Group: system:nodes",
        "Impersonate-Uid: 1",
        "Impersonate-Extra-scopes: view",
        "impersonate_user: jane",
        "X-Remote-User: jane",
        "x-remote-group: system:nodes",
        "X-Remote-Extra-scopes: view",
    ] {
        let paths = [
            ("DELETE", format!("{PATH}/a")),
            ("GET", PATH.to_owned()),
            ("GET", "/apis".to_owned()),
            ("GET", "/version".to_owned()),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(),
            ),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            ),
        ];
        for (method, path) in paths {
            let head = format!("{method} {path} HTTP/1.1\r\n{header}\r\n");
            let answer = bench.send(Some(&bench.admin()), &head, b"").await;
            assert_eq!(answer.code, 403, "{header} {method} {path}");
            assert_eq!(answer.body["kind"], "Status");
            assert_eq!(answer.body["reason"], "Forbidden");
            let name = header.split(':').next().unwrap().to_ascii_lowercase();
            let message = answer.body["message"].as_str().unwrap();
            assert!(message.contains(&name), "{message}");
        }
    }
    let nobody = "GET /apis HTTP/1.1\r\nImpersonate-User: jane\r\n";
    assert_eq!(bench.send(None, nobody, b"").await.code, 401);
    assert!(bench.store.find("a").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_are_not_obeyed_delete_nothing() {
    let bench = with_csr().await;
    let admin = bench.admin();
    for (rest, options) in [
        ("", json!({"dryRun": ["Some"]})),
        ("", json!({"dryrun": ["All"]})),
        ("", json!({"preconditions": {"uuid": "x"}})),
        ("", json!({"propagationPolicy": "Never"})),
        (
            "",
            json!({"propagationPolicy": "Orphan", "orphanDependents": false}),
        ),
        ("", json!({"gracePeriodSeconds": -1})),
        (
            "",
            json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true}),
        ),
        ("", json!({"kind": "Pod", "apiVersion": "v1"})),
        ("?dryRun=Some", Value::Null),
        ("?dryrun=All", Value::Null),
        ("?propagationPolicy=Never", Value::Null),
        ("?labelSelector=a%3Db", Value::Null),
        ("?resourceVersion=1", Value::Null),
    ] {
        let answer = bench
            .ask(&admin, "DELETE", &format!("/a{rest}"), options.clone())
            .await;
        assert_eq!(answer.code, 400, "{rest} {options}: {}", answer.body);
    }
    let head = format!("DELETE {PATH}/a HTTP/1.1\r\nif-match: \"1\"\r\n");
    assert_eq!(bench.send(Some(&admin), &head, b"").await.code, 400);
    assert!(bench.store.find("a").is_some());
    // As kubectl sends it.
    let options = json!({"kind": "DeleteOptions", "apiVersion": "certificates.k8s.io/v1",
        "propagationPolicy": "Background", "gracePeriodSeconds": 0, "dryRun": ["All"]});
    assert_eq!(bench.ask(&admin, "DELETE", "/a", options).await.code, 200);
    assert!(bench.store.find("a").is_some());
    let options = json!({"propagationPolicy": "Background"});
    assert_eq!(bench.ask(&admin, "DELETE", "/a", options).await.code, 200);
    assert!(bench.store.find("a").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_not_obeyed_change_nothing() {
    let bench = with_csr().await;
    let admin = bench.admin();
    let before = bench.store.find("a").unwrap();
    let strategic = "application/strategic-merge-patch+json";
    let merge = "application/merge-patch+json";
    let patches = [
        ("", "application/json-patch+json", json!([]), 415),
        (
            "?force=true",
            "application/apply-patch+yaml",
            json!({}),
            400,
        ),
        ("", "application/apply-patch+yaml", json!({}), 415),
        (
            "",
            strategic,
            json!({"metadata": {"labels": {"$patch": "replace"}}}),
            400,
        ),
        ("", strategic, json!({"$retainKeys": ["metadata"]}), 400),
        (
            "?fieldValidation=Strict",
            merge,
            json!({"metadata": {"lables": {"a": "b"}}}),
            400,
        ),
        (
            "",
            merge,
            json!({"metadata": {"finalizers": ["example.com/keep"]}}),
            422,
        ),
        (
            "",
            merge,
            json!({"metadata": {"ownerReferences": [{"name": "x"}]}}),
            422,
        ),
    ];
    for (rest, kind, patch, code) in patches {
        let head = format!("PATCH {PATH}/a{rest} HTTP/1.1\r\ncontent-type: {kind}\r\n");
        let answer = bench
            .send(Some(&admin), &head, patch.to_string().as_bytes())
            .await;
        assert_eq!(answer.code, code, "{rest} {kind} {patch}: {}", answer.body);
    }
    let coded = format!("POST {PATH} HTTP/1.1\r\n{JSON}content-encoding: gzip\r\n");
    let answer = bench
        .send(Some(&admin), &coded, serving("b").to_string().as_bytes())
        .await;
    assert_eq!(answer.code, 415, "{}", answer.body);
    let mut kept = serving("b");
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    let answer = bench.ask(&admin, "POST", "", kept).await;
    assert_eq!(answer.code, 422, "{}", answer.body);
    assert!(
        answer.body["message"]
            .as_str()
            .unwrap()
            .contains("metadata.finalizers")
    );
    for rest in ["?dryrun=All", "?colour=red", "?limit=1"] {
        let answer = bench.ask(&admin, "POST", rest, serving("b")).await;
        assert_eq!(answer.code, 400, "{rest}: {}", answer.body);
    }
    let future = bench.get(&admin, "/a?resourceVersion=999").await;
    assert_eq!(future.code, 504, "{}", future.body);
    assert_eq!(bench.store.find("a").unwrap(), before);
    assert_eq!(bench.store.list().objects.len(), 1);
    // A typing error in a patch is told where nobody asked for more.
    let head = format!("PATCH {PATH}/a HTTP/1.1\r\ncontent-type: {merge}\r\n");
    let slip = json!({"metadata": {"lables": {"a": "b"}, "labels": {"c": "d"}}}).to_string();
    let answer = bench.send(Some(&admin), &head, slip.as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert!(answer.head.contains("unknown field"), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_clients_find_what_they_look_for() {
    let bench = with_csr().await;
    let admin = bench.admin();
    for (path, words) in [
        ("/version", "gitVersion"),
        ("/version/", "gitVersion"),
        ("/api/", "APIVersions"),
        ("/apis/", "APIGroupList"),
        ("/apis/authentication.k8s.io/v1beta1", "selfsubjectreviews"),
        ("/openapi/v3", "apis/authentication.k8s.io/v1beta1"),
        (
            "/openapi/v3/apis/authorization.k8s.io/v1",
            "SelfSubjectAccessReview",
        ),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\n");
        let answer = bench.send(Some(&admin), &head, b"").await;
        assert_eq!(answer.code, 200, "{path}");
        assert!(
            answer.body.to_string().contains(words),
            "{path}: {}",
            answer.body
        );
        let head = format!("HEAD {path} HTTP/1.1\r\n");
        let answer = bench.send(Some(&admin), &head, b"").await;
        assert_eq!((answer.code, answer.body), (200, Value::Null), "{path}");
        let head = format!("OPTIONS {path} HTTP/1.1\r\n");
        assert_eq!(
            bench.send(Some(&admin), &head, b"").await.code,
            405,
            "{path}"
        );
    }
    for path in ["/healthz?verbose", "/livez/ping", "/readyz/"] {
        let head = format!("GET {path} HTTP/1.1\r\n");
        assert_eq!(bench.send(None, &head, b"").await.code, 200, "{path}");
    }
    let head = format!("HEAD {PATH}?watch=1 HTTP/1.1\r\n");
    assert_eq!(bench.send(Some(&admin), &head, b"").await.code, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_learns_who_it_is() {
    let bench = Bench::new().await;
    let eve = bench.site.user("eve", vec!["others"]);
    for version in ["v1", "v1beta1"] {
        let path = format!("/apis/authentication.k8s.io/{version}/selfsubjectreviews");
        let own = format!("authentication.k8s.io/{version}");
        let head = format!("POST {path}?fieldManager=kubectl-create HTTP/1.1\r\n{JSON}");
        let question = json!({"kind": "SelfSubjectReview", "apiVersion": own,
            "metadata": {"creationTimestamp": null}, "status": {"userInfo": {}}});
        let answer = bench
            .send(Some(&eve), &head, question.to_string().as_bytes())
            .await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        assert_eq!(answer.body["apiVersion"], own);
        let user = &answer.body["status"]["userInfo"];
        assert_eq!(user["username"], "eve");
        assert_eq!(user["groups"], json!(["others", "system:authenticated"]));
        assert!(user["extra"]["authentication.kubernetes.io/credential-id"].is_array());
        let other = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v2"});
        let answer = bench
            .send(Some(&eve), &head, other.to_string().as_bytes())
            .await;
        assert_eq!(answer.code, 400, "{}", answer.body);
        let head = format!("POST {path} HTTP/1.1\r\n{JSON}accept: {MEDIA_TYPE}\r\n");
        let answer = bench
            .send(Some(&eve), &head, question.to_string().as_bytes())
            .await;
        assert_eq!(answer.code, 406, "{}", answer.body);
        let of = eyesplice_identity::protobuf::TypeMeta {
            api_version: own.clone(),
            kind: "SelfSubjectReview".to_owned(),
        };
        let sealed = eyesplice_identity::protobuf::seal(of, Vec::new());
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: {MEDIA_TYPE}\r\n");
        let answer = bench.send(Some(&eve), &head, &sealed).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        assert_eq!(bench.send(None, &head, &sealed).await.code, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_in_protobuf_are_refused_as_well() {
    let bench = Bench::new().await;
    let mut object = CertificateSigningRequest::default();
    object.metadata.name = "a".to_owned();
    let plain = encode(&object);
    // metadata.finalizers: field 14 of ObjectMeta, in front of everything else of it.
    let meta = [&b"\x0a\x01a"[..], b"\x72\x01f"].concat();
    let csr = [&[0x0a, u8::try_from(meta.len()).unwrap()][..], &meta].concat();
    let of = eyesplice_identity::protobuf::TypeMeta {
        api_version: "certificates.k8s.io/v1".to_owned(),
        kind: "CertificateSigningRequest".to_owned(),
    };
    let sealed = eyesplice_identity::protobuf::seal(of, csr);
    let head = format!("POST {PATH} HTTP/1.1\r\ncontent-type: {MEDIA_TYPE}\r\n");
    let answer = bench.send(Some(&bench.admin()), &head, &sealed).await;
    assert!(
        answer.body["message"]
            .as_str()
            .unwrap()
            .contains("metadata.finalizers")
    );
    let answer = bench.send(Some(&bench.admin()), &head, &plain).await;
    assert!(
        !answer.body["message"]
            .as_str()
            .unwrap()
            .contains("metadata.finalizers")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_a_token_leaves_room_for_renewals_and_for_administrators() {
    let mut bench = Bench::new().await;
    let tokens: Vec<_> = ["aaaaaa", "bbbbbb", "cccccc"]
        .iter()
        .map(|id| {
            let group = "system:bootstrappers:kubeadm:default-node-token";
            bench
                .site
                .user(&format!("system:bootstrap:{id}"), vec![group])
        })
        .collect();
    let mut refused = 0;
    for index in 0..190 {
        let pem = kubelet_client(&format!("x{index}")).pem();
        let one = body(&format!("f{index}"), Signer::KubeletClient, &pem);
        let token = &tokens[index % tokens.len()];
        refused += usize::from(bench.ask(token, "POST", "", one).await.code == 429);
    }
    // 200 in all, a tenth of it kept free.
    assert_eq!((bench.store.list().objects.len(), refused), (180, 10));
    bench.turn();
    let node = bench.node("w");
    assert_eq!(bench.ask(&node, "POST", "", serving("a")).await.code, 201);
    let renewal = body("r", Signer::KubeletClient, &kubelet_client("w").pem());
    assert_eq!(bench.ask(&node, "POST", "", renewal).await.code, 201);
    let admin = bench.ask(&bench.admin(), "POST", "", serving("b")).await;
    assert_eq!(admin.code, 201, "{}", admin.body);
    bench.turn();
    let renewed = bench.get(&node, "/r").await;
    assert!(
        renewed.body["status"]["certificate"].is_string(),
        "{}",
        renewed.body
    );
    // What was decided makes room for others.
    let late = body("late", Signer::KubeletClient, &kubelet_client("w").pem());
    assert_eq!(bench.ask(&tokens[0], "POST", "", late).await.code, 429);
    for index in 0..20 {
        let denied = super::super::super::object::Condition::new(
            "Denied",
            "x",
            String::new(),
            crate::object::Timestamp::from(std::time::SystemTime::now()),
        );
        let name = format!("f{index}");
        let written = bench.store.update(&name, |current| {
            let mut object = current.clone();
            object.status.conditions.push(denied.clone());
            Ok::<_, crate::store::StoreError>(crate::store::Change::Put(object))
        });
        written.unwrap();
    }
    let late = body("late", Signer::KubeletClient, &kubelet_client("w").pem());
    let answer = bench.ask(&tokens[0], "POST", "", late).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
}
