//! `eyesplice token serviceaccount`.

use super::form::{Failure, fields, pretty, read_token};
use crate::cli::args::TableFormat;
use crate::cli::say::{complain, print};
use crate::cli::token_args::{
    BoundKind, JwksArgs, KeyArgs, MintArgs, MintFormat, RotateKeyArgs, RotateStage,
    ServiceaccountCommand, VerifyArgs,
};
use eyesplice_identity::certificate::instant;
use eyesplice_identity::pem::FileRef;
use eyesplice_identity::token::jwt::{
    JwkError, JwkSet, PublicKey, load_public_keys, load_signing_key,
};
use eyesplice_identity::token::serviceaccount::{
    BoundObject, Discovery, MintRequest, NumericDate, ObjectRef, Rotation, Stage, Verified,
    Verifier, mint,
};
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file of a JWKS that cannot be used.
#[derive(Debug, thiserror::Error)]
enum JwksFileError {
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("{} cannot be used", .path.display())]
    Parse { path: PathBuf, source: JwkError },
}

pub(super) fn run(command: ServiceaccountCommand) -> Result<Exit, Failure> {
    match command {
        ServiceaccountCommand::Mint(args) => run_mint(args),
        ServiceaccountCommand::Verify(args) => verify(&args),
        ServiceaccountCommand::Jwks(args) => jwks(&args),
        ServiceaccountCommand::RotateKey(args) => rotate_key(&args),
    }
}

fn run_mint(args: MintArgs) -> Result<Exit, Failure> {
    let object = |name: Option<String>, uid: Option<String>| ObjectRef {
        name: name.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
    };
    let node = args.node_name.map(|name| object(Some(name), args.node_uid));
    let bound = object(args.bound_object_name, args.bound_object_uid);
    let bound = args.bound_object_kind.map(|kind| match kind {
        BoundKind::Pod => BoundObject::Pod { pod: bound, node },
        BoundKind::Secret => BoundObject::Secret(bound),
        BoundKind::Node => BoundObject::Node(bound),
    });
    let audiences = if args.audiences.is_empty() {
        vec![args.issuer.clone()]
    } else {
        args.audiences
    };
    let request = MintRequest {
        namespace: args.namespace,
        account: ObjectRef {
            name: args.name,
            uid: args.uid,
        },
        audiences,
        lifetime: args.duration,
        bound,
    };
    let key = load_signing_key(&FileRef::new("--key", &args.key))?;
    let minted = mint(&key, &args.issuer, &request, SystemTime::now())?;
    Ok(print(&match args.output {
        None => format!("{}\n", minted.token.expose()),
        Some(MintFormat::Json) => pretty(&json!({
            "token": minted.token.expose(),
            "kid": key.public().kid(),
            "claims": minted.claims,
        })),
    }))
}

fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let keys = public_keys(&args.keys)?;
    let verifier = Verifier::new(
        keys,
        args.issuers.clone(),
        args.audiences.clone(),
        args.leeway,
    );
    let text = read_token(&args.file)?;
    match verifier.verify(text.trim(), &[], SystemTime::now()) {
        Ok(verified) => Ok(print(&match args.output {
            TableFormat::Json => pretty(&as_json(&verified)),
            TableFormat::Table => table(&verified),
        })),
        Err(refusal) => {
            let cause = refusal.cause().as_str();
            if args.output == TableFormat::Json {
                let answer = json!({"valid": false, "cause": cause, "error": chain(&refusal)});
                print(&pretty(&answer));
            } else {
                complain(&format!("{cause}: {}", chain(&refusal)));
            }
            Ok(Exit::Failure)
        }
    }
}

fn as_json(verified: &Verified) -> Value {
    json!({
        "valid": true,
        "kid": verified.kid,
        "claims": verified.claims,
        "user": verified.user,
        "audiences": verified.audiences,
        "stale": verified.stale,
    })
}

fn table(verified: &Verified) -> String {
    let Verified {
        claims, user, kid, ..
    } = verified;
    let date = |date: Option<NumericDate>| date.map(|date| date.to_string()).unwrap_or_default();
    let private = claims.kubernetes.as_ref();
    let object = |object: Option<&ObjectRef>| {
        object
            .map(|object| format!("{} ({})", object.name, object.uid))
            .unwrap_or_default()
    };
    let stale = if verified.stale {
        "yes: the client should have requested a new token"
    } else {
        ""
    };
    fields(&[
        ("Username", user.username.clone()),
        ("UID", user.uid.clone()),
        ("Groups", user.groups.join(", ")),
        ("Issuer", claims.iss.clone()),
        ("Audiences", claims.aud.0.join(", ")),
        ("Issued", date(claims.iat)),
        ("Expires", date(claims.exp)),
        (
            "Pod",
            object(private.and_then(|private| private.pod.as_ref())),
        ),
        (
            "Secret",
            object(private.and_then(|private| private.secret.as_ref())),
        ),
        (
            "Node",
            object(private.and_then(|private| private.node.as_ref())),
        ),
        ("Stale", stale.to_owned()),
        ("ID", claims.jti.clone().unwrap_or_default()),
        ("Key", kid.clone()),
    ])
}

fn jwks(args: &JwksArgs) -> Result<Exit, Failure> {
    let keys = public_keys(&args.keys)?;
    let Some(issuer) = &args.issuer else {
        return Ok(print(&pretty(&json!(JwkSet::of(&keys)))));
    };
    let discovery = Discovery::new(issuer, args.jwks_uri.as_deref(), &keys)?;
    let document: Value = serde_json::from_slice(discovery.configuration())?;
    Ok(print(&pretty(&document)))
}

fn rotate_key(args: &RotateKeyArgs) -> Result<Exit, Failure> {
    let rotation = Rotation::new(&args.key, &args.public_keys);
    let stage = match args.stage {
        RotateStage::Trust => rotation.trust(args.algorithm)?,
        RotateStage::Switch => {
            let served = args.jwks.as_deref().map(read_jwks).transpose()?;
            rotation.switch(served.as_deref())?
        }
        RotateStage::Drop => {
            rotation.drop_old(args.token_lifetime, args.force, SystemTime::now())?
        }
        RotateStage::Undo => rotation.undo()?,
        RotateStage::Status => rotation.stage()?,
    };
    let keys = load_public_keys(&FileRef::new("--public-keys", &args.public_keys))?;
    let signing = load_signing_key(&FileRef::new("--key", &args.key))?;
    let trusted: Vec<&str> = keys.iter().map(PublicKey::kid).collect();
    Ok(print(&match args.output {
        TableFormat::Json => pretty(&json!({
            "stage": word(&stage),
            "signing": signing.public().kid(),
            "next": match &stage { Stage::Trusted { next } => Some(next), _ => None },
            "old": match &stage { Stage::Switched { old, .. } => Some(old), _ => None },
            "undone": match &stage { Stage::Undone { undone, .. } => Some(undone), _ => None },
            "switchedAt": match &stage {
                Stage::Switched { at, .. } | Stage::Undone { at, .. } => Some(instant((*at).into())),
                _ => None,
            },
            "trusted": trusted,
        })),
        TableFormat::Table => fields(&[
            ("Stage", stage.to_string()),
            ("Signing", signing.public().kid().to_owned()),
            ("Trusted", trusted.join(", ")),
            ("Next", advice(&stage).to_owned()),
        ]),
    }))
}

fn word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Idle => "idle",
        Stage::Trusted { .. } => "trusted",
        Stage::Switched { .. } => "switched",
        Stage::Undone { .. } => "undone",
    }
}

fn advice(stage: &Stage) -> &'static str {
    match stage {
        Stage::Idle => "restart or reload every process that loads the public keys",
        Stage::Trusted { .. } => {
            "restart or reload every process that loads the public keys, then run the stage switch"
        }
        Stage::Switched { .. } => {
            "restart or reload the processes that sign; once the last token of the old key has \
             expired, run the stage drop"
        }
        Stage::Undone { .. } => {
            "restart or reload the processes that sign; then run the stage switch again, or, once the \
             last token of the key that is no longer used has expired, the stage drop"
        }
    }
}

fn public_keys(args: &KeyArgs) -> Result<Vec<PublicKey>, Failure> {
    let mut keys = Vec::new();
    for path in &args.key_files {
        keys.extend(load_public_keys(&FileRef::new("--key-file", path))?);
    }
    if let Some(path) = &args.jwks {
        keys.extend(read_jwks(path)?);
    }
    Ok(keys)
}

fn read_jwks(path: &Path) -> Result<Vec<PublicKey>, JwksFileError> {
    let json =
        std::fs::read(path).map_err(|source| JwksFileError::Read(path.to_owned(), source))?;
    JwkSet::parse(&json).map_err(|source| JwksFileError::Parse {
        path: path.to_owned(),
        source,
    })
}
