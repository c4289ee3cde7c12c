use super::csv::parse;
use super::*;
use crate::token::BearerToken;
use eyesplice_proto::causes::chain;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FILE: &str = "/etc/eyesplice/tokens.csv";
const LONG: &str = "31ada4fd-adec-460c-809a-9e56ceb75269";

fn fields(text: &str) -> Result<Vec<Vec<String>>, CsvError> {
    let records = parse(text)?;
    let texts = |record: Vec<csv::Field>| record.iter().map(|f| f.text.to_string()).collect();
    Ok(records.into_iter().map(texts).collect())
}

fn load(text: &str) -> Result<StaticTokens, TokenFileError> {
    StaticTokens::parse(text, Path::new(FILE))
}

fn warnings(text: &str) -> Vec<String> {
    let tokens = load(text).unwrap();
    tokens.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn csv_is_read_as_go_reads_it() {
    // Most rows are cases of Go's own reader_test.go, with other letters.
    let table: [(&str, &[&[&str]]); 19] = [
        ("", &[]),
        ("\n\n", &[]),
        ("\r\n", &[]),
        ("a,b,c\n", &[&["a", "b", "c"]]),
        ("a,b,c", &[&["a", "b", "c"]]),
        ("a,b,c\r\nd,e,f\r\n", &[&["a", "b", "c"], &["d", "e", "f"]]),
        ("a,b\r", &[&["a", "b"]]),
        ("a\rb,c\n", &[&["a\rb", "c"]]),
        ("a\n\nb\n", &[&["a"], &["b"]]),
        (" \n", &[&[" "]]),
        (",", &[&["", ""]]),
        ("a,b,\n", &[&["a", "b", ""]]),
        ("\"a,b\",c\n", &[&["a,b", "c"]]),
        ("\"a\"\"b\"\n", &[&["a\"b"]]),
        ("\"\"\"\",\"\"\n", &[&["\"", ""]]),
        ("\"two\r\nlines\",x\r\n", &[&["two\nlines", "x"]]),
        ("\"a\rb\"\n", &[&["a\rb"]]),
        (" a , b \n", &[&[" a ", " b "]]),
        ("#a,b\n", &[&["#a", "b"]]),
    ];
    for (text, expected) in table {
        assert_eq!(fields(text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn csv_that_is_wrong_names_line_and_column() {
    for (text, line, column, fault) in [
        ("a,b\"c\n", 1, 4, CsvFault::BareQuote),
        ("a,b\n \"c\"\n", 2, 2, CsvFault::BareQuote),
        ("\"a\"b\n", 1, 4, CsvFault::BehindQuote),
        ("\"a\" ,b\n", 1, 4, CsvFault::BehindQuote),
        ("\"a\"\rb\n", 1, 4, CsvFault::BehindQuote),
        ("a,\"b\n", 2, 1, CsvFault::OpenQuote),
        ("a,\"b", 1, 5, CsvFault::OpenQuote),
        ("x\n\"", 2, 2, CsvFault::OpenQuote),
    ] {
        let expected = CsvError {
            line,
            column,
            fault,
        };
        assert_eq!(fields(text), Err(expected), "{text:?}");
    }
    let error = load("secret-token,user\"x,1\n").unwrap_err().to_string();
    assert!(
        error.contains("tokens.csv is not CSV: line 1, column 18: a quote"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn token_file_gives_user_uid_and_groups() {
    let text = format!("{LONG},jane,u-1,\"dev,ops\"\r\n\n{LONG}2,joe,\n{LONG}3,eve,3,one\n");
    let tokens = load(&text).unwrap();
    let find = |token: &str| tokens.find(&BearerToken::new(token).unwrap());
    let jane = find(LONG).unwrap();
    assert_eq!((jane.username.as_str(), jane.uid.as_str()), ("jane", "u-1"));
    assert_eq!(jane.groups, ["dev", "ops"]);
    let joe = find(&format!("{LONG}2")).unwrap();
    assert_eq!((joe.username.as_str(), joe.uid.as_str()), ("joe", ""));
    assert!(joe.groups.is_empty());
    assert_eq!(find(&format!("{LONG}3")).unwrap().groups, ["one"]);
    assert!(find(&LONG[1..]).is_none());
    assert!(find("jane").is_none());
    assert_eq!(tokens.len(), 3);
    assert!(tokens.warnings().is_empty());
    assert!(!format!("{tokens:?}").contains(LONG));
}

#[test]
fn token_file_with_wrong_records_is_refused_whole_and_names_all() {
    let text = format!("{LONG},a,1\nx,y\n{LONG},,1\nz\n\"quoted\ntoken\",b\n");
    let Err(TokenFileError::Records(_, problems)) = load(&text) else {
        panic!("refused")
    };
    let columns = |line, columns| TableProblem::Columns(Place { line, column: 1 }, columns);
    let no_user = TableProblem::NoUser(Place {
        line: 3,
        column: 38,
    });
    assert_eq!(
        problems,
        [columns(2, 2), no_user, columns(4, 1), columns(5, 2)]
    );
}

#[test]
fn token_file_warns_of_what_upstream_takes_in_silence() {
    let text = format!(
        ",nobody,1\n{LONG},a,1\n{LONG},b,2\nshort,c,3\n{LONG}x,d,4,\"a, b\"\n{LONG}y,e,5,a,b\n\
         \"{LONG} z\",f,6\n"
    );
    let expected = [
        "line 1, column 1: the token is empty",
        "line 3, column 1: the token is that of line 2, too; the last counts",
        "line 4, column 1: the token has 5 characters, less than 128 bits",
        "line 5, column 43: group \" b\" begins or ends with a space",
        "line 6, column 45: the record has 5 columns; what is behind the fourth is not read",
        "line 7, column 1: the token has characters that no header can carry",
    ];
    let found = warnings(&text);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
        assert!(!found.contains(LONG), "{found}");
    }
    let tokens = load(&text).unwrap();
    let last = tokens.find(&BearerToken::new(LONG).unwrap()).unwrap();
    assert_eq!(last.username, "b", "the last wins");
    assert!(tokens.find(&BearerToken::new("short").unwrap()).is_some());
}

fn entry(user: &str, groups: &[&str]) -> Entry {
    Entry {
        user: user.to_owned(),
        uid: "7".to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

#[test]
fn generate_makes_an_entry_that_loads_as_it_was_meant() {
    for (user, groups) in [
        ("jane", &["dev", "ops"][..]),
        ("o\"hara, jim", &[]),
        (" lead", &["a b"]),
        ("#x", &["one"]),
        ("é", &["ü"]),
    ] {
        let line = generate(&entry(user, groups)).unwrap();
        let token = &line[..32];
        assert!(
            token.bytes().all(|b| b.is_ascii_hexdigit()),
            "128 bits in hex"
        );
        let tokens = load(&line).unwrap();
        let found = tokens.find(&BearerToken::new(token).unwrap()).unwrap();
        assert_eq!((found.username.as_str(), found.uid.as_str()), (user, "7"));
        assert_eq!(found.groups, groups);
        assert!(tokens.warnings().is_empty());
    }
    let (one, two) = (entry("a", &[]), entry("a", &[]));
    assert_ne!(*generate(&one).unwrap(), *generate(&two).unwrap());
}

#[test]
fn generate_refuses_what_a_file_could_not_carry() {
    let long = "a".repeat(257);
    let mut uid = entry("a", &[]);
    uid.uid = "1\r\n".to_owned();
    for (entry, problem) in [
        (entry("", &[]), EntryProblem::NoUser),
        (entry("a\nb", &[]), EntryProblem::Name("user")),
        (entry(&long, &[]), EntryProblem::Name("user")),
        (uid, EntryProblem::Name("uid")),
        (entry("a", &["b,c"]), EntryProblem::Comma),
        (entry("a", &[""]), EntryProblem::Name("group")),
        (entry("a", &["b\0"]), EntryProblem::Name("group")),
    ] {
        let Err(GenerateError::Entry(found)) = generate(&entry) else {
            panic!("{entry:?}")
        };
        assert_eq!(found, problem);
    }
}

#[test]
fn append_keeps_what_is_there_and_refuses_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.csv");
    let line = |user| generate(&entry(user, &[])).unwrap();
    append(&path, &line("a")).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    append(&path, &line("b")).unwrap();
    // Somebody's editor left the last line open.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.trim_end()).unwrap();
    append(&path, &line("c")).unwrap();
    assert_eq!(StaticTokens::load(&path).unwrap().len(), 3);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}broken")).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let error = append(&path, &line("d")).unwrap_err();
    assert!(matches!(error, GenerateError::Broken(_)));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn append_by_many_at_once_loses_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.csv");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| append(&path, &generate(&entry("a", &[])).unwrap()).unwrap());
        }
    });
    assert_eq!(StaticTokens::load(&path).unwrap().len(), 16);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn load_of_a_missing_or_huge_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.csv");
    let error = StaticTokens::load(&path).unwrap_err();
    assert!(chain(&error).contains("cannot read"), "{error}");
    fs::write(&path, vec![b'a'; (4 << 20) + 1]).unwrap();
    let error = StaticTokens::load(&path).unwrap_err();
    assert!(chain(&error).contains("larger than 4194304 bytes"));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = StaticTokens::load(&path).unwrap_err();
    assert!(chain(&error).contains("valid UTF-8"));
}

#[test]
fn parse_every_prefix_of_a_file_is_an_answer() {
    let text = format!("{LONG},jane,u-1,\"dev,ops\"\r\n\"a\"\"b\",\"x\ny\",1\n");
    for end in 0..text.len() {
        let _ = load(&text[..end]);
    }
}

proptest! {
    #[test]
    fn csv_written_is_read_back(fields in proptest::collection::vec("[^\r]{0,12}", 1..6)) {
        let mut text = String::new();
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            csv::write(field, &mut text);
        }
        // A single empty field writes an empty line, which is none.
        prop_assume!(!text.is_empty());
        let records = parse(&text).unwrap();
        prop_assert_eq!(records.len(), 1);
        let read: Vec<String> = records[0].iter().map(|f| f.text.to_string()).collect();
        prop_assert_eq!(read, fields);
    }

    #[test]
    fn parse_any_text_never_panics(text in "[a,\"\r\n é]{0,40}") {
        let _ = load(&text);
    }
}
