//! The HTTP heads of a route: CONNECT, and upgrades as kubectl asks for them.

use super::{Channel, Upgrade};
use crate::{Attempt, Error, Result};
use data_encoding::BASE64;
use ring::digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest head that is taken.
const LONGEST: usize = 16 * 1024;

const CONNECTED: &str = "HTTP/1.1 200";
const SWITCHED: &str = "HTTP/1.1 101";

/// The key of every WebSocket request: nothing here needs it to be secret.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Asks a proxy for a tunnel to `target`.
pub(super) async fn connect(channel: &mut Box<dyn Channel>, target: &str) -> Result<()> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    exchange(channel, &request, "proxy", CONNECTED).await
}

/// Asks for a change of protocol on an exec.
pub(super) async fn upgrade(
    channel: &mut Box<dyn Channel>,
    target: &str,
    upgrade: Upgrade,
) -> Result<()> {
    let (method, headers) = match upgrade {
        Upgrade::Spdy => (
            "POST",
            "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\
             X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
                .to_string(),
        ),
        Upgrade::Websocket => (
            "GET",
            format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n"
            ),
        ),
    };
    let request = format!(
        "{method} /exec/default/load/main?command=sh&input=1&output=1 HTTP/1.1\r\nHost: {target}\r\n\
         User-Agent: eyesplice-load\r\n{headers}\r\n"
    );
    exchange(channel, &request, "far end", SWITCHED).await
}

async fn exchange(
    channel: &mut Box<dyn Channel>,
    request: &str,
    who: &'static str,
    expected: &'static str,
) -> Result<()> {
    channel
        .write_all(request.as_bytes())
        .await
        .attempt("send a request")?;
    channel.flush().await.attempt("send a request")?;
    let answer = read_head(channel, who).await?;
    if answer.starts_with(expected) {
        return Ok(());
    }
    Err(Error::Answer {
        who,
        answer,
        expected,
    })
}

/// Reads a head. The other side has nothing to say before we speak, so what follows it in the same
/// read is an error.
async fn read_head(channel: &mut Box<dyn Channel>, who: &'static str) -> Result<String> {
    let mut head = Vec::with_capacity(512);
    loop {
        if channel
            .read_buf(&mut head)
            .await
            .attempt("read an answer")?
            == 0
        {
            return Err(Error::Ended(who));
        }
        let end = head.windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(at) if at + 4 == head.len() => {
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            None if head.len() < LONGEST => {}
            _ => {
                return Err(Error::Answer {
                    who,
                    answer: String::from_utf8_lossy(&head).into_owned(),
                    expected: "a head and no more",
                });
            }
        }
    }
}

/// A header's value in a line `name: value`.
fn key_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

/// What a far end answers to the lines of an upgrade request.
pub(crate) fn answer_upgrade(lines: &[String]) -> String {
    let value = |name| lines.iter().find_map(|line| key_of(line, name));
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
    match value("Sec-WebSocket-Key") {
        None => format!(
            "{switch}Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
        ),
        Some(key) => {
            let both = format!("{key}{GUID}");
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes());
            let accept = BASE64.encode(hash.as_ref());
            format!(
                "{switch}Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\
                 Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn websocket_is_accepted_as_the_rfc_shows() {
        let lines = [format!("sec-websocket-key: {KEY}\r")];
        let answer = answer_upgrade(&lines);
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!answer_upgrade(&[]).contains("websocket"));
    }
}
