//! Configuration, token and PIN, before anything is served.

use std::fs;
use std::path::Path;
use std::process::Command;

use hufu_harness::process::{self, Answer};

use crate::common::world;
use crate::harmless;

/// `hufu serve` with another configuration and PIN.
fn serve(hufu: &Path, config: &Path, softhsm: &Path, pin: &str) -> anyhow::Result<Answer> {
    process::run(
        Command::new("sh")
            .args(["-c", "pin=$1; shift; printf %s \"$pin\" | exec \"$@\"", "sh", pin])
            .arg(hufu)
            .arg("--config")
            .arg(config)
            .args(["--pin-fd", "0", "serve"])
            .env("SOFTHSM2_CONF", softhsm),
    )
}

#[test]
fn a_bad_setting_is_named_with_its_line_or_key() -> anyhow::Result<()> {
    let world = world()?;
    harmless(&world, |consortium| {
        let member = consortium.maker();
        let good = fs::read_to_string(member.config())?;
        let pin = fs::read_to_string(member.pin())?;
        let file = consortium.path("bad.toml");
        let line = |text: &str| -> String {
            let at = good.find(text).unwrap_or_default();
            format!("line {}", good[..at].lines().count() + 1)
        };
        let data = format!("data = {:?}", member.directory.join("data"));
        let elsewhere = format!("data = {:?}", consortium.path("elsewhere"));
        let genesis = format!("genesis = {:?}", consortium.genesis_path());
        let peer = format!("maker = \"{}\", ", member.addresses.network);
        let workers = line("workers");
        let store = format!(
            "[store]\nengine = \"foundationdb\"\ncluster_file = {:?}\nlibrary = \
             \"/nonexistent/libfdb_c.so\"\n[services]",
            consortium.genesis_path()
        );
        type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<&'a str>);
        let cases: Vec<Case> = vec![
            ("unknown", vec![("workers", "workesr")], vec!["unknown field `workesr`", &workers]),
            ("mistyped", vec![("workers = 2", "workers = \"two\"")], vec![&workers, "workers"]),
            ("out of range", vec![("workers = 2", "workers = 0")], vec!["workers"]),
            ("no TOML", vec![("workers = 2", "workers = ")], vec![&workers]),
            ("no address", vec![("gateway = \"", "gateway = \"x")], vec!["gateway", "line "]),
            ("a secret", vec![("workers = 2", "pin = \"1\"")], vec!["unknown field `pin`"]),
            ("a key missing", vec![("label = ", "# label = ")], vec!["missing field `label`"]),
            ("no kinds", vec![("kinds = [\"maker\"]", "kinds = []")], vec!["member.kinds"]),
            (
                "EST at a maker",
                vec![("[services]", "[services]\nest = \"127.0.0.1:1\"")],
                vec!["services.est"],
            ),
            (
                "no such module",
                vec![("libsofthsm2.so", "libnothing.so")],
                vec!["libnothing.so", "check the path"],
            ),
            (
                "no such token",
                vec![("label = \"maker\"", "label = \"toymaker\"")],
                vec!["toymaker", "list tokens"],
            ),
            (
                "no genesis file",
                vec![(&genesis, "genesis = \"/nonexistent/genesis.json\"")],
                vec!["/nonexistent/genesis.json", "hufu org found"],
            ),
            ("not a member", vec![("name = \"maker\"", "name = \"toymaker\"")], vec!["toymaker"]),
            (
                "another member's token",
                vec![("name = \"maker\"", "name = \"operator\"")],
                vec!["token of the ceremony"],
            ),
            (
                "no client library of FoundationDB",
                vec![("[services]", &store)],
                vec!["/nonexistent/libfdb_c.so", "`foundationdb-clients`", "7.3.x"],
            ),
            ("no engine", vec![("[services]", "[store]\n[services]")], vec!["line ", "`engine`"]),
            ("a second node", vec![], vec!["state", "another process"]),
            (
                "a peer without address",
                vec![(&data, &elsewhere), (&peer, "")],
                vec!["network.peers", "`maker`"],
            ),
        ];
        for (what, changes, words) in cases {
            let mut content = good.clone();
            for (from, to) in changes {
                assert!(content.contains(from), "{what}: no `{from}` in {good}");
                content = content.replacen(from, to, 1);
            }
            fs::write(&file, content)?;
            let answer = serve(&consortium.settings.hufu, &file, &member.softhsm(), pin.trim())?;
            // A token that is not there does not open.
            let status = if what == "no such token" { 4 } else { 2 };
            assert_eq!(answer.status.code(), Some(status), "{what}: {}", answer.stderr);
            for word in words {
                assert!(
                    answer.stderr.contains(word),
                    "{what}: without `{word}`: {}",
                    answer.stderr
                );
            }
            assert!(!answer.stderr.contains("panicked"), "{what}: {}", answer.stderr);
        }
        let nothing = consortium.path("nothing.toml");
        let answer = serve(&consortium.settings.hufu, &nothing, &member.softhsm(), "")?;
        assert_eq!(answer.status.code(), Some(2));
        assert!(answer.stderr.contains("--config FILE"), "{}", answer.stderr);
        Ok(())
    })
}

#[test]
fn a_bad_pin_is_told_and_never_shown() -> anyhow::Result<()> {
    let mut world = world()?;
    world.consortium.kill("maker")?;
    let maker = world.consortium.maker();
    let hufu = &world.consortium.settings.hufu;
    for (pin, words) in [
        ("", "PIN"),
        ("12", "PIN"),
        ("987654321098", "refused the PIN; it is not tried again"),
        ("876543210987", "refused the PIN; it is not tried again"),
    ] {
        let answer = serve(hufu, &maker.config(), &maker.softhsm(), pin)?;
        assert_eq!(answer.status.code(), Some(4), "{}", answer.stderr);
        assert!(answer.stderr.contains(words), "`{pin}`: {}", answer.stderr);
        assert!(pin.is_empty() || !answer.stderr.contains(pin), "{}", answer.stderr);
    }
    // A descriptor that is not there.
    let answer = process::run(
        Command::new(hufu).arg("--config").arg(maker.config()).args(["--pin-fd", "9", "serve"]),
    )?;
    assert_eq!(answer.status.code(), Some(4), "{}", answer.stderr);
    assert!(answer.stderr.contains("PIN") && answer.stderr.contains('9'), "{}", answer.stderr);

    // The token is not locked: each wrong PIN was tried once.
    let consortium = &mut world.consortium;
    consortium.start("maker")?;
    consortium.wait_until_up("maker")?;
    consortium.wait_until_ready("maker")
}
