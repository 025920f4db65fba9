//! Backups are made, opened, and refused.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use hufu_backup::{
    BackupError, Entry, Head, MAX_HEAD, Manifest, Plan, Sealer, Share, Sink, TokenPart, identities,
    open_share, read_head, unseal,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

type Contents = Vec<(String, Vec<u8>)>;

fn contents() -> Contents {
    vec![
        ("config".to_owned(), b"[member]\n".to_vec()),
        ("data/empty".to_owned(), Vec::new()),
        ("data/ca.sqlite".to_owned(), vec![7; 200_000]),
        ("token/a-b/token.object".to_owned(), vec![1, 2, 3]),
    ]
}

fn operators(count: usize) -> Vec<Identity> {
    (0..count).map(|_| Identity::generate()).collect()
}

fn plan(operators: &[Identity], threshold: u8) -> Plan {
    Plan {
        member: "maker".to_owned(),
        genesis: "00".repeat(32),
        created_ms: 1_795_183_509_123,
        software: "hufu 0.1.0".to_owned(),
        token: TokenPart::Included,
        threshold,
        recipients: operators.iter().map(|one| one.to_public().to_string()).collect(),
    }
}

fn entries(contents: &Contents) -> Vec<Entry> {
    let entry = |(path, bytes): &(String, Vec<u8>)| Entry {
        path: path.clone(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
    };
    contents.iter().map(entry).collect()
}

fn seal(plan: &Plan, contents: &Contents) -> Result<Vec<u8>, BackupError> {
    let mut sealer = Sealer::new(plan, entries(contents), Vec::new())?;
    for (_, bytes) in contents {
        for piece in bytes.chunks(70_001) {
            sealer.write(piece)?;
        }
    }
    sealer.finish()
}

#[derive(Default)]
struct Kept(Contents, bool);

impl Sink for Kept {
    fn accept(&mut self, _: &Manifest) -> io::Result<()> {
        if self.1 { Err(io::Error::other("no room")) } else { Ok(()) }
    }
    fn write(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        match self.0.last_mut() {
            Some((path, kept)) if *path == entry.path => kept.extend_from_slice(bytes),
            _ => self.0.push((entry.path.clone(), bytes.to_vec())),
        }
        Ok(())
    }
    fn end(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.size == 0 {
            self.0.push((entry.path.clone(), Vec::new()));
        }
        Ok(())
    }
}

fn keys(operator: &Identity) -> Vec<Box<dyn age::Identity>> {
    identities(operator.to_string().expose_secret().as_bytes()).unwrap()
}

fn head(file: &[u8]) -> (Vec<u8>, Head) {
    read_head(&mut &*file).unwrap()
}

fn open(file: &[u8], shares: &[Share]) -> Result<Contents, BackupError> {
    let mut input = BufReader::new(file);
    let (lines, _) = read_head(&mut input)?;
    let mut kept = Kept::default();
    unseal(input, &lines, shares, &mut kept)?;
    Ok(kept.0)
}

#[test]
fn any_m_of_n_open_it_and_fewer_do_not() {
    let people = operators(4);
    for threshold in 1..=4_u8 {
        let file = seal(&plan(&people, threshold), &contents()).unwrap();
        let (_, head) = head(&file);
        assert_eq!((head.threshold, head.operators.len()), (threshold, 4));
        let shares: Vec<Share> =
            people.iter().map(|one| open_share(&head, &keys(one)).unwrap()).collect();
        for chosen in 1..16_u8 {
            let given: Vec<Share> = (0..4)
                .filter(|at| chosen & (1 << at) != 0)
                // As it is typed again.
                .map(|at| Share::parse(&format!(" {}\n", shares[at].text())).unwrap())
                .collect();
            let opened = open(&file, &given);
            if given.len() >= usize::from(threshold) {
                assert_eq!(opened.unwrap(), contents());
            } else {
                let refused = opened.unwrap_err();
                assert!(matches!(refused, BackupError::TooFew { .. }), "{refused}");
            }
        }
        // One twice is one.
        let twice = [shares[1].clone(), shares[1].clone()];
        assert_eq!(open(&file, &twice).is_ok(), threshold == 1);
    }
}

#[test]
fn what_is_of_another_backup_or_altered_is_refused() {
    let people = operators(3);
    let (one, other) = (
        seal(&plan(&people, 2), &contents()).unwrap(),
        seal(&plan(&people, 2), &contents()).unwrap(),
    );
    let (_, one_head) = head(&one);
    let (_, other_head) = head(&other);
    assert_ne!(one_head.id, other_head.id);
    let share = open_share(&one_head, &keys(&people[0])).unwrap();
    assert!(matches!(share.check(&other_head), Err(BackupError::OtherBackup { .. })));
    assert!(matches!(
        open(&other, std::slice::from_ref(&share)),
        Err(BackupError::OtherBackup { .. })
    ));
    let text = share.text();
    let (end, last) = text.split_at(text.len() - 1);
    let altered = format!("{end}{}", if last == "0" { "1" } else { "0" });
    let altered = Share::parse(&altered).unwrap();
    assert!(matches!(altered.check(&one_head), Err(BackupError::ShareWrong { index: 1 })));
    let renamed = Share::parse(&text.replacen(":1:", ":9:", 1)).unwrap();
    assert!(matches!(renamed.check(&one_head), Err(BackupError::ShareWrong { index: 9 })));
    assert!(!format!("{share:?}").contains(&text[30..60]));
    let stranger = Identity::generate();
    assert!(matches!(open_share(&one_head, &keys(&stranger)), Err(BackupError::NoShare(_))));
}

#[test]
fn a_cut_or_altered_file_is_refused() {
    let people = operators(2);
    let file = seal(&plan(&people, 2), &contents()).unwrap();
    let (lines, parsed) = head(&file);
    let shares: Vec<Share> =
        people.iter().map(|one| open_share(&parsed, &keys(one)).unwrap()).collect();
    open(&file, &shares).unwrap();
    for kept in [0, 5, lines.len() - 1, lines.len(), lines.len() + 100, file.len() - 1] {
        assert!(open(&file[..kept], &shares).is_err(), "{kept}");
    }
    for at in (0..file.len()).step_by(file.len() / 500) {
        let mut altered = file.clone();
        altered[at] ^= 1;
        assert!(open(&altered, &shares).is_err(), "byte {at}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(open(&longer, &shares).is_err());
    // A head of the same operators in front of another payload.
    let other = seal(&plan(&people, 2), &contents()).unwrap();
    let (other_lines, _) = head(&other);
    let mixed = [&lines[..], &other[other_lines.len()..]].concat();
    assert!(matches!(open(&mixed, &shares), Err(BackupError::Sealed)));
    // No room.
    let mut input = &file[lines.len()..];
    let full = unseal(&mut input, &lines, &shares, &mut Kept(Vec::new(), true));
    assert!(matches!(full, Err(BackupError::Sink { .. })));
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let people = operators(2);
    let good = plan(&people, 2);
    let twice = Plan { recipients: vec![good.recipients[0].clone(); 2], ..good.clone() };
    let none = Plan { recipients: Vec::new(), ..good.clone() };
    for bad in [twice, none] {
        assert!(matches!(seal(&bad, &contents()), Err(BackupError::Recipients(_))));
    }
    for threshold in [0, 3] {
        let bad = Plan { threshold, ..good.clone() };
        assert!(matches!(seal(&bad, &contents()), Err(BackupError::Threshold { .. })));
    }
    let secret = people[0].to_string().expose_secret().to_owned();
    for (recipient, words) in [
        ("age1nonsense", "plugin"),
        ("ssh-ed25519 AAAA", "no age recipient"),
        (secret.as_str(), "no age recipient"),
        ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "plugin"),
    ] {
        let bad = Plan { recipients: vec![recipient.to_owned()], threshold: 1, ..good.clone() };
        let error = seal(&bad, &contents()).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains(&secret[20..]), "{error}");
    }
    for path in ["../x", "/etc/passwd", "a/../b", ".hidden", "a//b", "", "a/b/c/d/e", "a b"] {
        let bad = vec![(path.to_owned(), Vec::new())];
        assert!(matches!(seal(&good, &bad), Err(BackupError::Manifest { .. })), "{path}");
    }
    // What changes under our hands.
    let mut announced = entries(&contents());
    announced[0].sha256 = "00".repeat(32);
    let mut sealer = Sealer::new(&good, announced, Vec::new()).unwrap();
    assert!(
        matches!(sealer.write(b"[member]\n"), Err(BackupError::Changed(path)) if path == "config")
    );
    let mut sealer = Sealer::new(&good, entries(&contents()), Vec::new()).unwrap();
    sealer.write(b"[mem").unwrap();
    assert!(matches!(sealer.finish(), Err(BackupError::Changed(_))));
}

/// Disks keep backups for long: one of the first version opens. Made anew with
/// `HUFU_WRITE_SEEDS=1`.
#[test]
fn an_old_file_still_opens() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let old = vec![("config".to_owned(), b"[member]\n".to_vec())];
    if std::env::var_os("HUFU_WRITE_SEEDS").is_some() {
        let people = operators(3);
        let file = seal(&plan(&people, 2), &old).unwrap();
        let keys: Vec<String> =
            people.iter().map(|one| one.to_string().expose_secret().to_owned() + "\n").collect();
        fs::write(directory.join("tests/fixtures/v1.backup"), &file).unwrap();
        fs::write(directory.join("fuzz/corpus/backup/good"), &file).unwrap();
        fs::write(directory.join("tests/fixtures/v1.identities"), keys.concat()).unwrap();
    }
    let file = fs::read(directory.join("tests/fixtures/v1.backup")).unwrap();
    let keys = fs::read_to_string(directory.join("tests/fixtures/v1.identities")).unwrap();
    let (_, head) = head(&file);
    assert_eq!((head.member.as_str(), head.threshold, head.operators.len()), ("maker", 2, 3));
    let shares: Vec<Share> = keys
        .lines()
        .take(2)
        .map(|key| open_share(&head, &identities(key.as_bytes()).unwrap()).unwrap())
        .collect();
    assert_eq!(open(&file, &shares).unwrap(), old);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_head(&mut &*bytes);
        let _ = Head::parse(&bytes);
        let _ = identities(&bytes);
        let near = [b"hufu backup v1\n{\"format\":1,".as_slice(), &bytes, b"}\n"].concat();
        let _ = read_head(&mut &*near);
    }

    #[test]
    fn no_text_is_a_share_that_makes_it_panic(
        text in "(hufu-share-1)?(:[a-z0-9]{0,20}){0,5}|(?s).{0,100}",
        index in any::<u8>(),
        values in "[0-9a-f]{148}",
    ) {
        let _ = Share::parse(&text);
        let share = Share::parse(&format!("hufu-share-1:x:{index}:{values}"));
        prop_assert_eq!(share.is_ok(), index > 0);
    }

    #[test]
    fn a_head_without_end_is_given_up(byte in any::<u8>()) {
        let start = b"hufu backup v1\n".as_slice();
        let mut endless = start.chain(io::repeat(if byte == b'\n' { b'x' } else { byte }));
        prop_assert!(read_head(&mut endless).is_err());
        prop_assert!(read_head(&mut io::repeat(byte).take(MAX_HEAD as u64 * 2)).is_err());
    }
}
