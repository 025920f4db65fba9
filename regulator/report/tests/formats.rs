//! Report files: they verify, and every change of any byte is refused.

mod world;

use std::path::PathBuf;

use hufu_proof::Genesis;
use hufu_report::canonical;
use hufu_report::file::ReportError;
use hufu_report::{Format, Language, Report, Severity, open, seal, verify_report};
use world::{SeedSigner, finality, genesis, name, report};

const FORMS: [(Format, Language, &str); 4] = [
    (Format::Json, Language::En, "report.json"),
    (Format::Html, Language::En, "report.en.html"),
    (Format::Html, Language::Zh, "report.zh.html"),
    (Format::Csv, Language::En, "report.csv"),
];

fn sealed(report: &Report, genesis: &Genesis, format: Format, language: Language) -> Vec<u8> {
    let proof = finality(genesis, &report.anchor.header, 9);
    seal(report, format, language, &name("b"), &SeedSigner::new(12), proof, Vec::new()).unwrap()
}

#[test]
fn every_form_verifies_and_says_what_was_checked() {
    let genesis = genesis();
    let report = report(&genesis);
    for (format, language, _) in FORMS {
        let file = sealed(&report, &genesis, format, language);
        let checked = verify_report(&file, &genesis).unwrap();
        assert_eq!(checked.format, format);
        assert_eq!(checked.signer, name("b"));
        assert_eq!(checked.as_of.height, 5);
        assert_eq!(checked.anchor_height, 7);
        assert_eq!(checked.votes, 3);
        assert_eq!(checked.counts.findings, 2);
        assert_eq!(checked.counts.by_severity[&Severity::High], 2);
        assert!(checked.presentation_recomputed);
        assert!(checked.statements().iter().any(|one| one.contains("2 log entries")));
        assert_eq!(open(&file).unwrap().report, report);
    }
}

#[test]
fn the_files_are_pinned() {
    let folder = PathBuf::from(env!("HUFU_ROOT")).join("tests/vectors/report");
    let genesis = genesis();
    let report = report(&genesis);
    let mut files = vec![("genesis.json", genesis.to_json())];
    for (format, language, file) in FORMS {
        files.push((file, sealed(&report, &genesis, format, language)));
    }
    let write = std::env::var_os("HUFU_WRITE_VECTORS").is_some();
    for (file, bytes) in files {
        let path = folder.join(file);
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let pinned = std::fs::read(&path).unwrap();
        assert!(
            pinned == bytes,
            "{file} is no longer what is written; reports of old must still verify, so count up \
             the version, and then write new vectors with HUFU_WRITE_VECTORS=1"
        );
    }
}

#[test]
fn pinned_files_verify_against_the_pinned_genesis() {
    let folder = PathBuf::from(env!("HUFU_ROOT")).join("tests/vectors/report");
    let genesis = Genesis::from_json(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    for (_, _, file) in FORMS {
        verify_report(&std::fs::read(folder.join(file)).unwrap(), &genesis).unwrap();
    }
}

/// Every byte of every form, changed in its lowest bit; letters also in bit 5,
/// which is their case, so that hexadecimal digits and base64 are met.
#[test]
fn every_single_byte_change_is_refused() {
    let genesis = genesis();
    let report = report(&genesis);
    for (format, language) in
        [(Format::Json, Language::En), (Format::Html, Language::Zh), (Format::Csv, Language::En)]
    {
        let file = sealed(&report, &genesis, format, language);
        for position in 0..file.len() {
            let letter = file[position].is_ascii_alphabetic() && format != Format::Html;
            for &mask in if letter { &[0x01, 0x20][..] } else { &[0x01] } {
                let mut changed = file.clone();
                changed[position] ^= mask;
                assert!(
                    verify_report(&changed, &genesis).is_err(),
                    "{format:?}: byte {position} changed by {mask:#x} is not noticed"
                );
            }
        }
        for position in (0..file.len()).step_by(29) {
            let mut shorter = file.clone();
            shorter.remove(position);
            assert!(verify_report(&shorter, &genesis).is_err(), "{format:?}: {position} dropped");
            let mut longer = file.clone();
            longer.insert(position, b' ');
            assert!(verify_report(&longer, &genesis).is_err(), "{format:?}: {position} inserted");
        }
        for end in [&b" "[..], b"\n", b"\r\n", b"{}", b"<!-- -->\n"] {
            assert!(verify_report(&[&file, end].concat(), &genesis).is_err());
        }
    }
}

#[test]
fn the_bodies_of_two_members_are_equal_and_their_files_are_not() {
    let genesis = genesis();
    let report = report(&genesis);
    for (format, language, _) in FORMS {
        let one = sealed(&report, &genesis, format, language);
        let proof = finality(&genesis, &report.anchor.header, 21);
        let other =
            seal(&report, format, language, &name("c"), &SeedSigner::new(13), proof, Vec::new())
                .unwrap();
        assert_ne!(one, other);
        assert_eq!(open(&one).unwrap().body, open(&other).unwrap().body);
        verify_report(&other, &genesis).unwrap();
    }
}

#[test]
fn a_member_cannot_sign_what_does_not_hold() {
    let genesis = genesis();
    let good = report(&genesis);
    let refused = |change: &dyn Fn(&mut Report)| {
        let mut bad = good.clone();
        change(&mut bad);
        let proof = finality(&genesis, &good.anchor.header, 9);
        let signer = SeedSigner::new(12);
        let file =
            seal(&bad, Format::Json, Language::En, &name("b"), &signer, proof, Vec::new()).unwrap();
        verify_report(&file, &genesis).unwrap_err()
    };
    let content: [&dyn Fn(&mut Report); 9] = [
        &|report| report.counts.findings += 1,
        &|report| report.format = "hufu-report-v2".into(),
        &|report| report.controls[0].findings[0].row.clear(),
        &|report| report.controls[0].findings[0].subject = "other".into(),
        &|report| drop(report.evidence.pop()),
        &|report| report.evidence[0].entry.index = 1,
        &|report| report.as_of.height = 6,
        &|report| report.as_of.time_ms = 1_790_000_007_001,
        &|report| report.anchor.digest = report.genesis,
    ];
    for (index, change) in content.into_iter().enumerate() {
        let error = refused(change);
        assert!(matches!(error, ReportError::Content(_)), "change {index}: {error}");
    }
    // Another log root needs another header, which nobody finalized.
    let error = refused(&|report| {
        report.anchor.header.executed.state_root = report.genesis;
        report.anchor.digest = report.anchor.header.digest();
    });
    assert!(matches!(error, ReportError::Anchor(_)), "{error}");
    let error = refused(&|report| report.consortium = name("other"));
    assert!(matches!(error, ReportError::OtherConsortium { .. }), "{error}");
}

#[test]
fn other_signers_and_high_s_are_refused() {
    let genesis = genesis();
    let report = report(&genesis);
    let proof = finality(&genesis, &report.anchor.header, 9);
    let forged = |member: &str, seed: u8| {
        let signer = SeedSigner::new(seed);
        let language = Language::En;
        let file = seal(
            &report,
            Format::Json,
            language,
            &name(member),
            &signer,
            proof.clone(),
            Vec::new(),
        )
        .unwrap();
        verify_report(&file, &genesis).unwrap_err()
    };
    assert_eq!(forged("stranger", 12), ReportError::UnknownSigner(name("stranger")));
    assert_eq!(forged("b", 13), ReportError::Signature(name("b")));
    // The vote key does not sign reports.
    assert_eq!(forged("b", 2), ReportError::Signature(name("b")));

    let file = sealed(&report, &genesis, Format::Json, Language::En);
    let opened = open(&file).unwrap();
    let low = p256::ecdsa::Signature::from_slice(opened.block.signature.as_bytes()).unwrap();
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    let text = |one: &p256::ecdsa::Signature| hex::encode(one.to_bytes());
    let other = String::from_utf8(file).unwrap().replace(&text(&low), &text(&high));
    assert_eq!(verify_report(other.as_bytes(), &genesis), Err(ReportError::Signature(name("b"))));
}

#[test]
fn a_page_that_shows_something_else_is_refused_even_when_signed() {
    let genesis = genesis();
    let report = report(&genesis);
    for (format, from, to) in
        [(Format::Html, "1.2rem", "1.3rem"), (Format::Csv, "unpaid-lease", "repaid-lease")]
    {
        let opened = open(&sealed(&report, &genesis, format, Language::En)).unwrap();
        let body = String::from_utf8(opened.body).unwrap().replacen(from, to, 1);
        let marker = match format {
            Format::Html => ("<!-- hufu report v1 signature: ", " -->\n"),
            _ => ("# hufu report v1 signature: ", "\r\n"),
        };
        let mut block = opened.block.clone();
        let signer = SeedSigner::new(12);
        let message = hufu_report::file::message(body.as_bytes());
        block.signature = hufu_proof::Signer::sign(&signer, &message).unwrap();
        let block = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            canonical::encode(&block).unwrap(),
        );
        let file = format!("{body}{}{block}{}", marker.0, marker.1);
        assert!(matches!(
            verify_report(file.as_bytes(), &genesis),
            Err(ReportError::Presentation(_))
        ));
    }
}

#[test]
fn the_page_is_self_contained_escaped_and_in_its_language() {
    let genesis = genesis();
    let report = report(&genesis);
    let page =
        |language| String::from_utf8(sealed(&report, &genesis, Format::Html, language)).unwrap();
    let (english, chinese) = (page(Language::En), page(Language::Zh));
    assert!(english.contains("Fees unpaid &lt;beyond&gt; the threshold"));
    assert!(english.contains("=L1&lt;/script&gt;&lt;!--"));
    assert!(chinese.contains("<html lang=\"zh-Hans\">") && chinese.contains("监管报告"));
    assert!(chinese.contains("租金拖欠超过阈值"));
    // One script element, which is data; nothing is fetched.
    assert_eq!(english.matches("<script").count(), 1);
    assert_eq!(english.matches("</script").count(), 1);
    for outside in ["src=", "http:", "https:", "url(", "@import", "<link"] {
        assert!(!english.contains(outside), "{outside}");
    }
    // A message key that the catalogue lacks would show as a hole.
    for page in [&english, &chinese] {
        assert!(!page.contains("<dt></dt>") && !page.contains("<th></th>"));
    }
}

#[test]
fn a_spreadsheet_gets_no_formula_and_whole_lines() {
    let genesis = genesis();
    let file = sealed(&report(&genesis), &genesis, Format::Csv, Language::En);
    let text = String::from_utf8(file).unwrap();
    let head = text.lines().next().unwrap();
    assert_eq!(
        head,
        "control,severity,clause,subject,lease_id,lessee,owed,row.subject,seal,device,evidence"
    );
    assert!(text.contains(",'=L1</script><!--,"));
    assert!(text.contains("\"plant, \"\"east\"\"\n\""));
    assert!(text.contains(",-12500,,00ff,"));
}

#[test]
fn what_is_no_report_is_refused_in_words() {
    let genesis = genesis();
    for (bytes, part) in [
        (&b""[..], "begins like none"),
        (b"{}", "missing field"),
        (b"{", "malformed"),
        (b"<!DOCTYPE html>", "does not end with its signature"),
        (b"control,severity,clause,subject,\r\n", "does not end with its signature"),
        (b"\xff\xfe", "begins like none"),
    ] {
        let error = verify_report(bytes, &genesis).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let large = vec![b'{'; hufu_report::MAX_REPORT + 1];
    assert!(matches!(verify_report(&large, &genesis), Err(ReportError::TooLarge(_))));
}
