//! Report files: they verify, and every change of any byte is refused.

mod world;

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};
use std::path::PathBuf;

use hufu_proof::{Genesis, Severity};
use hufu_report::canonical;
use hufu_report::file::ReportError;
use hufu_report::{Format, Language, Report, SignatureBlock, Style, open, seal, verify_report};
use world::{SeedSigner, finality, genesis, name, report, report_of};

const FORMS: [(Format, Language, &str); 5] = [
    (Format::Json, Language::En, "report.json"),
    (Format::Html, Language::En, "report.en.html"),
    (Format::Html, Language::Zh, "report.zh.html"),
    (Format::Csv, Language::En, "report.en.zip"),
    (Format::Csv, Language::Zh, "report.zh.zip"),
];

/// Of the first version, in `v1`.
const FIRST: [(Format, &str); 4] = [
    (Format::Json, "report.json"),
    (Format::Html, "report.en.html"),
    (Format::Html, "report.zh.html"),
    (Format::Csv, "report.csv"),
];

fn pinned() -> PathBuf {
    PathBuf::from(env!("HUFU_ROOT")).join("tests/vectors/report")
}

fn sealed(report: &Report, genesis: &Genesis, format: Format, language: Language) -> Vec<u8> {
    let proof = finality(genesis, &report.anchor.header, 9);
    seal(report, format, language.into(), &name("b"), &SeedSigner::new(12), proof, Vec::new())
        .unwrap()
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
        assert_eq!(checked.counts.findings, 7);
        assert_eq!(checked.counts.by_severity[&Severity::High], 6);
        assert!(checked.presentation_recomputed);
        assert!(checked.statements().iter().any(|one| one.contains("2 log entries")));
        assert_eq!(open(&file).unwrap().report, report);
    }
}

#[test]
fn the_files_are_pinned() {
    let folder = pinned();
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
    let folder = pinned();
    let genesis = Genesis::from_json(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    for (_, _, file) in FORMS {
        verify_report(&std::fs::read(folder.join(file)).unwrap(), &genesis).unwrap();
    }
    for (format, file) in FIRST {
        let bytes = std::fs::read(folder.join("v1").join(file)).unwrap();
        let checked = verify_report(&bytes, &genesis).unwrap();
        assert_eq!(checked.format, format);
        assert_eq!(checked.counts.findings, 2);
        assert_eq!(checked.presentation_recomputed, format == Format::Json);
        for position in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert!(verify_report(&changed, &genesis).is_err(), "{file}: byte {position}");
        }
    }
}

/// Bytes of every form (all of JSON, and of the others all at the end and every
/// eleventh), changed in their lowest bit; letters also in bit 5, which is their
/// case, so that hexadecimal digits and base64 are met.
#[test]
fn single_byte_changes_are_refused() {
    let genesis = genesis();
    let report = report_of(&genesis, 1);
    for (format, language) in
        [(Format::Json, Language::En), (Format::Html, Language::Zh), (Format::Csv, Language::Zh)]
    {
        let file = sealed(&report, &genesis, format, language);
        let tried = |position: &usize| {
            format == Format::Json || position.is_multiple_of(11) || file.len() - position < 400
        };
        for position in (0..file.len()).filter(tried) {
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
        for position in (0..file.len()).step_by(211) {
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
        let other = seal(
            &report,
            format,
            language.into(),
            &name("c"),
            &SeedSigner::new(13),
            proof,
            Vec::new(),
        )
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
            seal(&bad, Format::Json, Style::default(), &name("b"), &signer, proof, Vec::new())
                .unwrap();
        verify_report(&file, &genesis).unwrap_err()
    };
    let content: [&dyn Fn(&mut Report); 14] = [
        &|report| report.counts.findings += 1,
        &|report| report.format = "hufu-report-v3".into(),
        &|report| report.format = "hufu-report-v1".into(),
        &|report| report.controls[2].shown = None,
        &|report| report.controls[0].shown.as_mut().unwrap().subject = "other".into(),
        &|report| report.controls[0].change.as_mut().unwrap().new.push(99),
        &|report| report.compared = None,
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
        let file = seal(
            &report,
            Format::Json,
            Style::default(),
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

/// What the entries of a ZIP are, by name.
fn entries(file: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).unwrap();
    let mut entries = BTreeMap::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        entries.insert(entry.name().to_owned(), content);
    }
    entries
}

fn signed(body: &[u8]) -> hufu_proof::Signature {
    let message = hufu_report::file::message(body);
    hufu_proof::Signer::sign(&SeedSigner::new(12), &message).unwrap()
}

#[test]
fn what_shows_something_else_is_refused_even_when_signed() {
    let genesis = genesis();
    let report = report(&genesis);
    // A page: its body, and who is said to have signed it.
    let file = sealed(&report, &genesis, Format::Html, Language::En);
    let opened = open(&file).unwrap();
    let page = String::from_utf8(file.clone()).unwrap();
    let body = String::from_utf8(opened.body).unwrap();
    let other = body.replacen("1.7rem", "1.8rem", 1);
    let mut block = opened.block.clone();
    block.signature = signed(other.as_bytes());
    let tail = &page[body.len()..];
    let encode = |block: &SignatureBlock| {
        let bytes = canonical::encode(block).unwrap();
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
    };
    let old = hex::encode(opened.block.signature.as_bytes());
    let tail = tail
        .replace(&encode(&opened.block), &encode(&block))
        .replace(&old, &hex::encode(block.signature.as_bytes()));
    let error = verify_report(format!("{other}{tail}").as_bytes(), &genesis).unwrap_err();
    assert!(matches!(error, ReportError::Presentation(_)), "{error}");
    let lie = page.replace("Member “b” computed", "Member “a” computed");
    assert_ne!(lie, page);
    let error = verify_report(lie.as_bytes(), &genesis).unwrap_err();
    assert!(matches!(error, ReportError::Presentation(_)), "{error}");
    let newer = page.replace("content=\"2 en", "content=\"3 en");
    let error = verify_report(newer.as_bytes(), &genesis).unwrap_err();
    assert_eq!(error, ReportError::OtherPresentation("3".into()));

    // A table, in a ZIP that is whole.
    let file = sealed(&report, &genesis, Format::Csv, Language::En);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries(&file) {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        let content = String::from_utf8(content).unwrap().replace("92.408", "82.408");
        zip.write_all(content.as_bytes()).unwrap();
    }
    let other = zip.finish().unwrap().into_inner();
    let error = verify_report(&other, &genesis).unwrap_err();
    assert!(matches!(error, ReportError::Presentation(_)), "{error}");
}

#[test]
fn the_page_is_self_contained_escaped_and_in_its_language() {
    let genesis = genesis();
    let report = report(&genesis);
    let page =
        |language| String::from_utf8(sealed(&report, &genesis, Format::Html, language)).unwrap();
    let (english, chinese) = (page(Language::En), page(Language::Zh));
    assert!(english.contains("Readings beyond &lt;a&gt; watch&#39;s limits"));
    assert!(english.contains("=L1&lt;/script&gt;&lt;!--"));
    assert!(english.contains("\\n\\u{202e}gnihtyna\\u{1b}[31m"));
    assert!(chinese.contains("<html lang=\"zh-Hans\">"));
    // One script element, which is data; nothing is fetched.
    assert_eq!(english.matches("<script").count(), 1);
    assert_eq!(english.matches("</script").count(), 1);
    for outside in ["src=", "http:", "https:", "url(", "@import", "<link"] {
        assert!(!english.contains(outside), "{outside}");
    }
    // Values with their unit, local times, titles, limits.
    for shown in [
        "92.408\u{a0}°C",
        "+7.408\u{a0}°C",
        "upper limit 85.000\u{a0}°C",
        "−7.500\u{a0}°C",
        "lower limit -5.000\u{a0}°C",
        "2\u{a0}h\u{a0}5\u{a0}min",
        "2026-09-21 14:13:25",
        "4 findings",
        "1 new, 2 no longer found",
        "class=\"new\"",
        "href=\"#e7\"",
        "id=\"e7\"",
        "Signed by",
        "3 members voted",
        "hufu verify --genesis genesis.json FILE",
    ] {
        assert!(english.contains(shown), "{shown}");
    }
    for shown in [
        "监管报告",
        "运行基线",
        "共执行 3 项控制，发现 7 项问题。",
        "新增 1 项，消除 2 项。",
        "运行监管规则第四条",
        "温度",
        "上限 85.000\u{a0}°C",
        "2\u{a0}小时\u{a0}5\u{a0}分",
        "2026-09-21 22:13:25",
        "UTC+08:00",
        "容差",
        "本报告由成员“b”",
    ] {
        assert!(chinese.contains(shown), "{shown}");
    }
}

/// What a person reads of a page.
fn visible_text(page: &str) -> String {
    let page = page.split_once("</head>").unwrap().1;
    let mut text = String::new();
    let mut hidden = false;
    for part in page.split('<').skip(1) {
        let (tag, content) = part.split_once('>').unwrap();
        hidden = tag.starts_with("script")
            || tag.starts_with("!--")
            || (hidden && !tag.starts_with('/'));
        if !hidden && !tag.starts_with("code") && !tag.starts_with("bdi") {
            text.push_str(content);
            text.push('\n');
        }
    }
    text
}

#[test]
fn nothing_in_the_chinese_page_is_left_in_english_but_identifiers() {
    let genesis = genesis();
    let file = sealed(&report(&genesis), &genesis, Format::Html, Language::Zh);
    let text = visible_text(&String::from_utf8(file).unwrap());
    let identifiers = [
        "UTC",
        "CSV",
        "JSON",
        "mm",
        "operation",
        "supervision",
        "baseline",
        "over",
        "limit",
        "silent",
        "device",
        "unwatched",
        "hufu",
        "ledger",
        "receipt",
        "TRANSACTION",
        "PUMP",
        "temperature",
        "ecdsa",
        "p256",
    ];
    for word in text.split(|one: char| !one.is_ascii_alphabetic()).filter(|word| word.len() > 1) {
        assert!(identifiers.contains(&word), "`{word}` in {text}");
    }
    assert!(!text.contains(", ") && !text.contains(". "), "{text}");
}

#[test]
fn a_spreadsheet_gets_a_table_for_each_control() {
    let genesis = genesis();
    let report = report(&genesis);
    let files = |language| {
        entries(&sealed(&report, &genesis, Format::Csv, language))
            .into_iter()
            .map(|(name, content)| (name, String::from_utf8(content).unwrap()))
            .collect::<BTreeMap<String, String>>()
    };
    let (english, chinese) = (files(Language::En), files(Language::Zh));
    let names: Vec<&str> = english.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "README.txt",
            "evidence.csv",
            "over-limit.csv",
            "proof/form.json",
            "proof/report.json",
            "proof/signature.json",
            "silent-device.csv",
            "summary.csv",
            "unwatched-device.csv",
        ]
    );
    for (name, content) in english.iter().chain(&chinese).filter(|one| !one.0.contains('/')) {
        assert!(content.starts_with('\u{feff}') && content.ends_with("\r\n"), "{name}");
        assert!(!content.replace("\r\n", "").contains(['\r', '\n']), "{name}");
    }
    let lines: Vec<&str> = english["over-limit.csv"].lines().collect();
    assert_eq!(
        lines[0],
        "\u{feff}Device,Owner,Metric,Readings,Lowest,Highest,Lower limit,Upper limit,Watch,First \
         measured at (UTC+00:00),Last measured at (UTC+00:00),Note,Unit,New,Evidence (log entries),Evidence in all"
    );
    assert_eq!(
        lines[1],
        "PUMP-00000,maker,Temperature,1,85.250,92.408,,85.000,PUMP-00000-temperature,\
         2026-09-21 00:20:00,2026-09-21 14:13:20,,°C,yes,2 7,40"
    );
    assert!(lines[6].starts_with("'=L1</script><!--,"), "{}", lines[6]);
    assert!(lines[6].contains("\"plant, \"\"east\"\"\\n\\u{202e}gnihtyna\\u{1b}[31m # hufu\""));
    let lines: Vec<&str> = chinese["silent-device.csv"].lines().collect();
    assert_eq!(
        lines[0],
        "\u{feff}设备,静默时长（秒）,最近上报时间（UTC+08:00）,封印,证据（日志条目）,证据总数"
    );
    assert_eq!(lines[1], "PUMP-0100,7512.345,2026-09-21 20:08:12,00ff,2,1");
    assert!(chinese["summary.csv"].contains("超出监测限值的读数,高,运行监管规则第四条"));
    assert_eq!(english["proof/report.json"].as_bytes(), canonical::encode(&report).unwrap());
}

/// A double holds no whole number between 2^53 and the next but one.
#[test]
fn every_digit_of_a_large_number_is_in_every_form() {
    let genesis = genesis();
    let mut report = report(&genesis);
    for (number, digits, grouped) in [
        ((1i64 << 53) + 1, "9007199254740993", "9007199254740.993"),
        (i64::MAX, "9223372036854775807", "9223372036854775.807"),
        (i64::MIN, "-9223372036854775808", "-9223372036854775.808"),
    ] {
        // The number of readings, and the highest with three decimals.
        report.controls[0].findings[0].row[3] = hufu_report::Cell::Integer(number);
        report.controls[0].findings[0].row[5] = hufu_report::Cell::Integer(number);
        report.controls[0].result = report.controls[0].result_digest();
        let file = sealed(&report, &genesis, Format::Json, Language::En);
        assert!(String::from_utf8(file).unwrap().contains(digits), "{digits}");
        let tables = sealed(&report, &genesis, Format::Csv, Language::En);
        let tables = String::from_utf8(entries(&tables)["over-limit.csv"].clone()).unwrap();
        let row = tables.lines().nth(1).unwrap();
        assert!(row.contains(&format!(",{digits},")) && row.contains(grouped), "{row}");
        let page = sealed(&report, &genesis, Format::Html, Language::En);
        let page = String::from_utf8(page).unwrap();
        let shown = &page[..page.find("<script").unwrap()];
        let digits_only: String = shown.chars().filter(|one| !matches!(one, ',' | ' ')).collect();
        assert!(digits_only.contains(grouped), "{grouped}");
    }
}

#[test]
fn eighteen_thousand_findings_make_a_report_that_opens() {
    let genesis = genesis();
    let report = report_of(&genesis, 18_000);
    let page = sealed(&report, &genesis, Format::Html, Language::En);
    let text = String::from_utf8(page.clone()).unwrap();
    assert!(text.contains("Listed here are 200 of 18000 findings"));
    assert!(text.contains("12000 findings") && text.contains("6000 findings"));
    let shown = text.find("<script").unwrap();
    assert!(shown < 1024 * 1024, "{shown} bytes to lay out");
    assert!(text[..shown].contains("class=\"new\""), "what is new is listed");
    let tables = sealed(&report, &genesis, Format::Csv, Language::En);
    assert_eq!(
        entries(&tables)["over-limit.csv"].iter().filter(|one| **one == b'\n').count(),
        18_001
    );
    for file in [&page, &tables] {
        assert_eq!(verify_report(file, &genesis).unwrap().counts.findings, 18_001);
    }
}

/// Writes the pages of both languages, to be looked at and printed.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("HUFU_WRITE_PAGES").map(PathBuf::from) else { return };
    let genesis = genesis();
    for count in [6, 18_000] {
        let report = report_of(&genesis, count);
        for language in [Language::En, Language::Zh] {
            let file = sealed(&report, &genesis, Format::Html, language);
            std::fs::write(folder.join(format!("{count}.{language}.html")), file).unwrap();
            let file = sealed(&report, &genesis, Format::Csv, language);
            std::fs::write(folder.join(format!("{count}.{language}.zip")), file).unwrap();
        }
    }
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
        (b"PK\x03\x04", "invalid Zip archive"),
        (b"\xff\xfe", "begins like none"),
    ] {
        let error = verify_report(bytes, &genesis).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let large = vec![b'{'; hufu_report::MAX_REPORT + 1];
    assert!(matches!(verify_report(&large, &genesis), Err(ReportError::TooLarge(_))));
}
