//! Weak keys, requests and certificates, made by the openssl command: no library here makes any.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says whether the command is there; if not, that the test is skipped.
pub fn present(test: &str) -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {test}: there is no openssl command");
    }
    found
}

/// Runs it with `input`; returns what it wrote.
pub fn run(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {args:?}: {error}");
    out.stdout
}

/// Makes a private key, as in `["RSA", "rsa_keygen_bits:1024"]`; PEM.
pub fn key(algorithm: &str, options: &[&str]) -> Vec<u8> {
    let mut args = vec!["genpkey", "-algorithm", algorithm];
    for option in options {
        args.extend(["-pkeyopt", option]);
    }
    run(&args, b"")
}

/// The public half of a key, DER.
pub fn spki(key: &[u8]) -> Vec<u8> {
    run(&["pkey", "-pubout", "-outform", "DER"], key)
}

/// Writes a key where commands can read it.
pub fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// A request by `key` for `subject`, as in `/O=system:nodes/CN=system:node:w`; PEM.
pub fn request(key: &[u8], subject: &str, more: &[&str]) -> Vec<u8> {
    let key = file(key);
    let key = key.path().to_str().unwrap();
    let mut args = vec!["req", "-new", "-key", key, "-subj", subject];
    args.extend(more);
    run(&args, b"")
}

/// A certificate of `key` by itself; PEM.
pub fn self_signed(key: &[u8], subject: &str, more: &[&str]) -> Vec<u8> {
    request(key, subject, &[&["-x509", "-days", "30"], more].concat())
}

/// A certificate for a request, by a CA; PEM.
pub fn signed(request: &[u8], (ca, ca_key): (&[u8], &[u8]), more: &[&str]) -> Vec<u8> {
    let (ca, ca_key) = (file(ca), file(ca_key));
    let (ca, ca_key) = (ca.path().to_str().unwrap(), ca_key.path().to_str().unwrap());
    let mut args = vec!["x509", "-req", "-days", "30", "-CA", ca, "-CAkey", ca_key];
    args.extend(["-set_serial", "7"]);
    // With an extension it is of version 3, which is all that TLS takes.
    let extensions = file(b"basicConstraints=CA:FALSE\n");
    args.extend(["-extfile", extensions.path().to_str().unwrap()]);
    args.extend(more);
    run(&args, request)
}
