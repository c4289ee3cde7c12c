//! Body of the fuzz target for the answers of a SOCKS5 proxy.

use eyesplice_proto::login::Login;
use eyesplice_proto::parse::Parsed;
use eyesplice_proto::socks::{Client, SocksError, Step};
use eyesplice_proto::target::Target;

/// Whether there is a login, and all answers.
pub(crate) const SEEDS: &[&[u8]] = &[
    b"\x00\x05\x00\x05\x00\x00\x01\x0a\x00\x00\x01\x1f\xc5\x16\x03",
    b"\x01\x05\x02\x01\x00\x05\x00\x00\x03\x02ab\x00\x00",
    b"\x01\x05\x00\x05\x00\x00\x04ABCDEFGHIJKLMNOP\x00\x00",
    b"\x01\x05\x02\x01\x01",
    b"\x00\x05\xff",
    b"\x00\x05\x00\x05\x02\x00\x01",
    b"\x00HTTP/1.1 400 Bad Request\r\n\r\n",
];

/// The longest answer: a name of 255 bytes.
const LONGEST: usize = 4 + 1 + 255 + 2;

/// All answers at once, and byte by byte.
pub fn socks_client(data: &[u8]) {
    let (with_login, answers) = match data {
        [first, answers @ ..] => (first % 2 == 1, answers),
        [] => return,
    };
    let target: Target = "gateway.example:8133".parse().expect("a target");
    let login = Login::parse("user:password").expect("a login");
    let login = with_login.then_some(&login);
    let (mut client, _) = Client::new(&target, login);
    let (mut slow, _) = Client::new(&target, login);
    let mut at = 0;
    // A method, a verdict, a reply, and one more that is refused.
    for round in 0..4 {
        let rest = &answers[at..];
        let whole = client.on(rest);
        let end = match &whole {
            Ok(Parsed::Complete { consumed, .. }) => *consumed,
            _ => rest.len(),
        };
        assert!(end <= rest.len());
        let mut pieces = (0..end).map(|end| slow.on(&rest[..end]));
        let early = pieces.find(|piece| !matches!(piece, Ok(Parsed::Incomplete)));
        match whole {
            Ok(Parsed::Incomplete) => {
                assert!(early.is_none() && rest.len() < LONGEST);
                return;
            }
            Ok(Parsed::Complete { head, consumed }) => {
                assert!(early.is_none() && consumed <= LONGEST && round < 3);
                let again = slow.on(&rest[..end]);
                assert!(matches!(again, Ok(Parsed::Complete { head: same, .. }) if same == head));
                if let Step::Say(bytes) = head {
                    assert!(bytes.len() <= 3 + 2 * 255);
                }
                at += consumed;
            }
            Err(error) => {
                let same = early.unwrap_or_else(|| slow.on(rest));
                assert_eq!(same.map(|_| ()), Err(error));
                let words = error.to_string();
                assert!(words.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                assert!(matches!(client.on(rest), Err(SocksError::Over)));
                return;
            }
        }
    }
    panic!("a fourth answer was taken");
}
