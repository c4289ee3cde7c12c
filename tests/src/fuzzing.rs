//! Bodies of the fuzz targets of control: what must hold for any bytes, whoever makes them up.
//!
//! The harness is that of `eyesplice_proto_fuzz`. A body panics when something does not hold.

use eyesplice_identity::token::jwt::{Compact, JwkSet, PublicKey, SigningKey};
use eyesplice_identity::token::serviceaccount::Claims;
use eyesplice_identity::token::{bootstrap, static_tokens};
use eyesplice_proto_fuzz::FuzzTarget;
use rustls::pki_types::PrivateKeyDer;

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "token_file",
        seeds: TOKEN_FILES,
        run: token_file,
    },
    FuzzTarget {
        name: "bootstrap_secret",
        seeds: SECRETS,
        run: bootstrap_secret,
    },
    FuzzTarget {
        name: "bootstrap_token",
        seeds: BOOTSTRAP_TOKENS,
        run: bootstrap_token,
    },
    FuzzTarget {
        name: "inventory",
        seeds: INVENTORIES,
        run: inventory,
    },
    FuzzTarget {
        name: "pins",
        seeds: PINS,
        run: pins,
    },
    FuzzTarget {
        name: "jwt",
        seeds: JWTS,
        run: jwt,
    },
    FuzzTarget {
        name: "jwks",
        seeds: JWK_SETS,
        run: jwks,
    },
    FuzzTarget {
        name: "token_key",
        seeds: KEYS,
        run: token_key,
    },
    FuzzTarget {
        name: "pki_document",
        seeds: DOCUMENTS,
        run: pki_document,
    },
    FuzzTarget {
        name: "kubeconfig",
        seeds: KUBECONFIGS,
        run: kubeconfig,
    },
    FuzzTarget {
        name: "api_query",
        seeds: QUERIES,
        run: api_query,
    },
    FuzzTarget {
        name: "api_body",
        seeds: BODIES,
        run: api_body,
    },
];

const DOCUMENTS: &[&[u8]] = &[
    b"apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n",
    b"apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\ncluster: {server: 'https://[fd00::1]:8443/', \
      serviceIPs: [10.1.0.1]}\nnames: {apiserver: [cp.example]}\nnodes:\n- {name: w, addresses: [10.0.0.1]}\n\
      users:\n- {name: jane, groups: [dev]}\nauthorities: {layout: single, parent: {certFile: a, keyFile: b}}\n\
      keys: {algorithm: Ed25519}\nlifetimes: {authorities: 48h, certificates: 90m}\n",
];

const KUBECONFIGS: &[&[u8]] = &[
    b"apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts:\n- {name: x, context: {cluster: c, user: u}}\n\
      clusters:\n- {name: c, cluster: {server: 'https://x:6443', certificate-authority-data: AAAA}}\nusers:\n\
      - {name: u, user: {token: a.b.c, client-key-data: AAAA, client-certificate-data: AAAA}}\n",
    b"apiVersion: v1\nkind: Config\nusers:\n- {name: u, user: {exec: {command: a, apiVersion: b, args: [c]}}}\n",
];

const QUERIES: &[&[u8]] = &[
    b"watch=true&resourceVersion=12&fieldSelector=metadata.name%3Da,spec.signerName!=b&timeoutSeconds=4\n\
      application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    b"labelSelector=a%20in%20(b,c),!d,e=f&limit=2&dryRun=All&fieldValidation=Strict&includeObject=None\n*/*",
    // {"v":"meta.k8s.io/v1","rv":5,"start":"a\u0000"}
    b"limit=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0",
];

/// An envelope with a CSR named a, of signer s, and one with nothing.
const BODIES: &[&[u8]] = &[
    b"k8s\0\x0a\x06\x0a\x01v\x12\x01k\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01r\x3a\x01s",
    b"k8s\0",
];

const TOKEN_FILES: &[&[u8]] = &[
    b"31ada4fd-adec-460c-809a-9e56ceb75269,jane,u-1,\"dev,ops\"\r\n\n,x,1\n",
    b"\"a\"\"b\",\"two\nlines\",1,\" g\"\na,b\n",
    b"a,\"b\"c,1\n",
];

const SECRETS: &[&[u8]] = &[
    b"metadata: {name: bootstrap-token-abcdef}\ntype: bootstrap.kubernetes.io/token\nstringData:\n  \
      token-id: \"abcdef\"\n  token-secret: \"0123456789abcdef\"\n  expiration: \
      \"2026-11-22T09:00:00Z\"\n  usage-bootstrap-authentication: \"true\"\n  auth-extra-groups: \
      \"system:bootstrappers:a\"\n  description: \"x\"\n",
    b"{\"metadata\":{\"name\":\"bootstrap-token-abcdef\"},\"type\":\"bootstrap.kubernetes.io/token\",\
      \"data\":{\"token-id\":\"YWJjZGVm\",\"token-secret\":\"MDEyMzQ1Njc4OWFiY2RlZg==\"}}",
];

const BOOTSTRAP_TOKENS: &[&[u8]] = &[b"abcdef.0123456789abcdef", b"abcdef", b"a.b.c"];

const INVENTORIES: &[&[u8]] = &[
    b"apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- name: worker-3\n  addresses: \
      [10.0.0.7, worker-3.example, 'fd00::7', '::ffff:10.0.0.8']\n- {name: v, addresses: [V.Example]}\n",
];

const PINS: &[&[u8]] = &[
    b"apiVersion: eyesplice.dev/v1alpha1\nkind: KubeletPins\npins:\n- node: worker-3\n  spkiSHA256: \
      [rFjc3wG7lTZe43zeYTvPq8k4xdDEutCmIhI5dn4oCeE=, \
      'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']\n",
];

const JWTS: &[&[u8]] = &[
    // {"alg":"ES256","kid":"k"} . {"iss":"a","sub":"b","exp":1} . AAAA
    b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJhIiwic3ViIjoiYiIsImV4cCI6MX0.AAAA",
    // {"alg":"none"}
    b"eyJhbGciOiJub25lIn0.e30.",
];

const JWK_SETS: &[&[u8]] = &[
    b"{\"keys\":[{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"1lqPeSO7fyKdiTkgpW_e0VB9cXGJNQLI_JDbIEMFEuo\",\
      \"crv\":\"P-256\",\"alg\":\"ES256\",\"x\":\"CGOkE6EfJhV4MUpN3IKGXQ5OQ0Nfyv-56Q-ONspVVqM\",\
      \"y\":\"JOvjIuEVITvFXABwFMPxIVpucdGP1o2nN3OTGo8-26M\"}]}",
    b"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"},{\"kty\":\"OKP\"}]}",
];

/// SubjectPublicKeyInfo of P-256 with a point of zeros, and the head of a PKCS #8 key.
const KEYS: &[&[u8]] = &[
    &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ],
    &[
        0x30, 0x1f, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
        0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x05, 0x30, 0x03,
        0x02, 0x01, 0x01,
    ],
];

/// A token file: what is read and written again is the same, and no error quotes a field.
pub fn token_file(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        static_tokens::check_any(text);
    }
}

/// A bootstrap token's Secret: what is read and written again is the same.
pub fn bootstrap_secret(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        bootstrap::check_any(text);
    }
}

/// A bootstrap token: what is read is written as it came, and no error quotes it.
pub fn bootstrap_token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        bootstrap::check_any_token(text);
    }
}

/// An inventory: every address of a node is found again by its own text.
pub fn inventory(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        eyesplice_identity::inventory::check_any(text);
    }
}

/// Pins: what is read and written again is the same.
pub fn pins(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        eyesplice_identity::pins::check_any(text);
    }
}

/// A compact token: it has three parts, and no key that we know made it.
pub fn jwt(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(compact) = Compact::parse(text) else {
        return;
    };
    assert_eq!(text.matches('.').count(), 2);
    assert!(
        compact
            .header
            .kid
            .as_ref()
            .is_none_or(|kid| text.len() > kid.len())
    );
    assert!(compact.verify(&[]).is_err(), "verified by nobody");
    if let Ok(claims) = compact.unverified::<Claims>() {
        let again =
            serde_json::to_string(&claims).map(|json| serde_json::from_str::<Claims>(&json));
        assert!(matches!(again, Ok(Ok(same)) if same == claims));
    }
}

/// A key set: what is read and published again is the same.
pub fn jwks(data: &[u8]) {
    let Ok(keys) = JwkSet::parse(data) else {
        return;
    };
    let again = serde_json::to_vec(&JwkSet::of(&keys)).map(|json| JwkSet::parse(&json));
    assert!(matches!(again, Ok(Ok(same)) if same == keys));
}

/// A key in DER: a public one that is read has one encoding; private ones are read or refused.
pub fn token_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_spki(data) {
        assert_eq!(PublicKey::from_spki(key.spki()).as_ref(), Ok(&key));
    }
    for key in [
        PrivateKeyDer::Pkcs1(data.into()),
        PrivateKeyDer::Sec1(data.into()),
        PrivateKeyDer::Pkcs8(data.into()),
    ] {
        let _ = SigningKey::from_der(&key);
    }
}

/// A document of a PKI: what is read and written again reads the same.
pub fn pki_document(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        eyesplice_identity::pki::check_any(text);
    }
}

/// A query of the authority's API and an Accept header: what a page's token says is read again.
pub fn api_query(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        eyesplice_authority::check_any_query(text);
    }
}

/// A body in Kubernetes' protobuf: it is judged, whatever it is.
pub fn api_body(data: &[u8]) {
    eyesplice_authority::check_any_body(data);
}

/// A kubeconfig: it is judged, whatever it is.
pub fn kubeconfig(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        eyesplice_identity::kubeconfig::check_any(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_proto_fuzz::seeded;

    /// Enough to see every branch that mutation reaches soon; `scripts/fuzz` runs more.
    const CASES: u64 = 1000;

    #[test]
    fn run_every_target_over_seeded_mutations_holds() {
        for target in TARGETS {
            seeded::run(target, CASES, 1);
        }
    }

    #[test]
    fn seeds_are_read_as_what_they_are() {
        let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap();
        assert!(Compact::parse(text(JWTS[0])).is_ok());
        assert!(JwkSet::parse(JWK_SETS[0]).is_ok());
        assert!(PublicKey::from_spki(KEYS[0]).is_ok());
        assert!(
            SECRETS
                .iter()
                .all(|secret| bootstrap::check_any(text(secret)))
        );
        assert!(bootstrap::check_any_token(text(BOOTSTRAP_TOKENS[0])));
        assert!(eyesplice_identity::inventory::check_any(text(
            INVENTORIES[0]
        )));
        assert!(eyesplice_identity::pins::check_any(text(PINS[0])));
        assert!(static_tokens::check_any("token,user,uid\n"));
        assert!(
            DOCUMENTS
                .iter()
                .all(|document| eyesplice_identity::pki::check_any(text(document)))
        );
        assert!(
            KUBECONFIGS
                .iter()
                .all(|config| eyesplice_identity::kubeconfig::check_any(text(config)))
        );
    }
}
