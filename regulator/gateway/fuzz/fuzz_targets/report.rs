//! Report files: whatever the bytes, verification answers, and what opens is
//! in its one exact form.
#![no_main]

use hufu_proof::Genesis;
use hufu_report::{Format, open, verify_report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(opened) = open(bytes) {
        if opened.format == Format::Json {
            let signature = hufu_report::canonical::encode(&opened.block).expect("it was read");
            let again =
                [b"{\"report\":", &opened.body[..], b",\"signature\":", &signature, b"}"].concat();
            assert_eq!(again, bytes, "two files of one report");
        }
        let _ = opened.report.check();
    }
    let genesis = include_bytes!("../../../../tests/vectors/report/genesis.json");
    let genesis = Genesis::from_json(genesis).expect("the pinned genesis file is good");
    let pinned: [&[u8]; 9] = [
        include_bytes!("../../../../tests/vectors/report/report.json"),
        include_bytes!("../../../../tests/vectors/report/report.en.html"),
        include_bytes!("../../../../tests/vectors/report/report.zh.html"),
        include_bytes!("../../../../tests/vectors/report/report.en.zip"),
        include_bytes!("../../../../tests/vectors/report/report.zh.zip"),
        include_bytes!("../../../../tests/vectors/report/v1/report.json"),
        include_bytes!("../../../../tests/vectors/report/v1/report.en.html"),
        include_bytes!("../../../../tests/vectors/report/v1/report.zh.html"),
        include_bytes!("../../../../tests/vectors/report/v1/report.csv"),
    ];
    // Nothing verifies but what the members signed.
    assert_eq!(verify_report(bytes, &genesis).is_ok(), pinned.contains(&bytes));
});
