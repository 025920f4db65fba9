//! Files that are verified offline, and files that founders exchange.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use hufu_harness::inspect::text;
use hufu_harness::job::report;
use hufu_harness::process::{self, Answer};

use crate::common::world;
use crate::harmless;

/// Checks a refusal of the command line: its status, that it names the file,
/// and what it says of it.
fn refused(file: &Path, answer: &Answer, status: i32, words: &str) {
    let what = file.display().to_string();
    let said = &answer.stderr;
    assert_eq!(answer.status.code(), Some(status), "{what}: {}{said}", answer.stdout);
    assert!(said.starts_with("hufu: ") && said.contains(&what), "{said}");
    assert!(said.contains(words), "{what}: without `{words}`: {said}");
    assert!(!answer.stdout.contains("valid"), "{what}: {}", answer.stdout);
}

#[test]
fn what_does_not_verify_is_told_why() -> anyhow::Result<()> {
    let world = world()?;
    let directory = world.consortium.path("documents");
    fs::create_dir_all(&directory)?;
    let file = |name: &str| directory.join(name);
    let (receipt, certificate) = (file("good-receipt.pem"), file("good-certificate.pem"));
    world.consortium.owner()?.receipt(world.recorded.sample, &receipt)?;
    world.consortium.bundle(&world.fleet.tpm[0].enrolled()?, &certificate)?;
    let reports = report::pull(&world.consortium, world.gateway.height()?)?;
    harmless(&world, |consortium| {
        let receipt = fs::read_to_string(receipt)?;
        let bundle = fs::read_to_string(certificate)?;
        let end = bundle.find("-----BEGIN HUFU RECEIPT").context("a receipt in the bundle")?;
        let (certificate, issuance) = bundle.split_at(end);
        let half = |text: &str| text[..text.len() / 2].to_owned();
        let [html, json] = [&reports.html, &reports.json].map(fs::read_to_string);
        let tables = fs::read(&reports.csv)?;
        let none = "neither a certificate nor a receipt";
        for (name, content, words) in [
            ("empty", String::new(), none),
            ("nonsense", "nonsense\n".to_owned(), none),
            ("half-receipt", half(&receipt), "the PEM is cut off or altered"),
            ("longer-receipt", format!("{receipt}x\n"), "the PEM is cut off or altered"),
            ("two-receipts", format!("{receipt}{receipt}"), "the PEM is cut off or altered"),
            ("other-label", receipt.replace("HUFU RECEIPT", "HUFU TICKET"), none),
            ("crlf", receipt.replace('\n', "\r\n"), "exactly as the appliance wrote it"),
            ("certificate-alone", certificate.to_owned(), "without its issuance receipt"),
            ("another-receipt", format!("{certificate}{receipt}"), "not signed by the authority"),
            ("reversed", format!("{issuance}{certificate}"), "the PEM is cut off or altered"),
            ("half.html", half(&html?), "does not end with its signature"),
            ("half.json", half(&json?), "EOF"),
            ("other.json", "{}".to_owned(), "missing field"),
        ] {
            fs::write(file(name), content)?;
            refused(&file(name), &consortium.verify(&file(name))?, 1, words);
        }
        fs::write(file("half.zip"), &tables[..tables.len() / 2])?;
        refused(&file("half.zip"), &consortium.verify(&file("half.zip"))?, 1, "not a report");
        // What cannot be read is not a file that does not verify.
        refused(&file("nothing"), &consortium.verify(&file("nothing"))?, 2, "No such file");
        refused(&directory, &consortium.verify(&directory)?, 2, "directory");
        Ok(())
    })
}

#[test]
fn a_bad_genesis_file_or_join_request_is_told_where() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let directory = consortium.path("founding");
    fs::create_dir_all(&directory)?;
    let write = |name: &str, content: &str| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, content)?;
        Ok(path)
    };
    let hufu =
        |arguments: &[&str]| process::run(Command::new(&consortium.settings.hufu).args(arguments));
    let good = fs::read_to_string(consortium.genesis_path())?;
    for (name, content, words) in [
        ("empty", String::new(), "line 1"),
        ("half", good[..good.len() / 2].to_owned(), "line "),
        (
            "unknown",
            good.replacen("\"version\": 2", "\"version\": 2, \"colour\": 1", 1),
            "`colour`",
        ),
        ("mistyped", good.replacen("\"version\": 2", "\"version\": \"2\"", 1), "line 2"),
        ("version", good.replacen("\"version\": 2", "\"version\": 3", 1), "version must be 1 to 2"),
        ("approvals", good.replacen("\"approvals\": 3", "\"approvals\": 5", 1), "approvals"),
        ("reformatted", good.replace("  ", " "), "as the founders agreed"),
        ("oversized", format!("{good}{}", " ".repeat(1024 * 1024)), "1048576"),
    ] {
        let path = write(name, &good)?;
        hufu(&["org", "show", "--genesis", text(&path)?])?.success()?;
        let path = write(name, &content)?;
        refused(&path, &hufu(&["org", "show", "--genesis", text(&path)?])?, 2, words);
    }

    let join = fs::read_to_string(consortium.maker().data("join.json"))?;
    let with = |path: &Path| -> anyhow::Result<Answer> {
        let mut command = Command::new(&consortium.settings.hufu);
        command.args(["org", "found", "--consortium", "another", "--approvals", "2", "--out"]);
        command.arg(directory.join("never.json"));
        command.arg(consortium.authority().data("join.json")).arg(path);
        process::run(&mut command)
    };
    for (name, content, words) in [
        ("join-empty", String::new(), "not a join request"),
        ("join-half", join[..join.len() / 2].to_owned(), "line "),
        ("join-unknown", join.replacen("\"kinds\"", "\"kind\"", 1), "`kind`"),
        ("join-altered", join.replacen("\"Device maker\"", "\"Toy maker\"", 1), "vote_signature"),
        ("join-oversized", format!("{join}{}", " ".repeat(256 * 1024)), "262144"),
    ] {
        let path = write(name, &content)?;
        refused(&path, &with(&path)?, 2, words);
    }
    for (what, path, words) in [
        ("a member twice", consortium.authority().data("join.json"), "two join requests"),
        ("no file", directory.join("nothing"), "No such file"),
    ] {
        let answer = with(&path)?;
        assert_eq!(answer.status.code(), Some(2), "{what}: {}", answer.stderr);
        assert!(answer.stderr.contains(words), "{what}: {}", answer.stderr);
    }
    assert!(!directory.join("never.json").exists());
    Ok(())
}
