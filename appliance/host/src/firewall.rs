//! The firewall: nothing comes in but to the ports of the configuration.
//!
//! The ruleset is a function of the configuration. It is written beside the
//! state, so that it can be read, and applied by `nft` in one transaction.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::files;

use crate::spawn;

/// Applies rulesets.
#[derive(Debug)]
pub struct Firewall {
    /// `nft`, unless the machine has no firewall of ours.
    program: Option<PathBuf>,
    file: PathBuf,
    applied: Option<String>,
}

impl Firewall {
    /// Applies with `program`, from `file`.
    pub fn new(program: Option<PathBuf>, file: PathBuf) -> Self {
        Self { program, file, applied: None }
    }

    /// Lets in to `open` and to nothing else from now on.
    ///
    /// # Errors
    /// What `nft` said.
    pub async fn open(&mut self, open: &BTreeSet<SocketAddr>) -> anyhow::Result<()> {
        let text = ruleset(open);
        if self.applied.as_deref() == Some(&text) {
            return Ok(());
        }
        files::write(&self.file, text.as_bytes())?;
        if let Some(program) = &self.program {
            apply(program, &self.file).await.context("the firewall")?;
        }
        self.applied = Some(text);
        Ok(())
    }
}

async fn apply(program: &Path, file: &Path) -> anyhow::Result<()> {
    let mut command = spawn::command(program);
    command.arg("-f").arg(file);
    spawn::run(command, b"").await?;
    Ok(())
}

/// Where a node of this configuration listens.
pub fn listeners(config: &Config) -> BTreeSet<SocketAddr> {
    let services = &config.services;
    [Some(config.network.listen), services.gateway, services.metrics, services.est, services.status]
        .into_iter()
        .flatten()
        .collect()
}

/// The ruleset that lets in to these listeners.
pub fn ruleset(open: &BTreeSet<SocketAddr>) -> String {
    let mut rules = String::new();
    for address in open {
        let port = address.port();
        let ip = address.ip().to_canonical();
        // A listener of the machine itself needs no rule.
        let to = match ip {
            ip if ip.is_loopback() => continue,
            ip if ip.is_unspecified() => String::new(),
            IpAddr::V4(ip) => format!("ip daddr {ip} "),
            IpAddr::V6(ip) => format!("ip6 daddr {ip} "),
        };
        rules += &format!("        {to}tcp dport {port} accept\n");
    }
    format!(
        "# Written by `hufu appliance run`; changes are lost.
table inet hufu
delete table inet hufu
table inet hufu {{
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iif \"lo\" accept
        icmp type echo-request limit rate 10/second accept
        icmpv6 type echo-request limit rate 10/second accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} ip6 hoplimit 255 accept
        icmpv6 type {{ packet-too-big, destination-unreachable, time-exceeded, parameter-problem }} accept
        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
{rules}    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(list: &[&str]) -> BTreeSet<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_ruleset_is_as_it_was_agreed() {
        let text = ruleset(&addresses(&[
            "0.0.0.0:7000",
            "[::]:8440",
            "192.0.2.7:8444",
            "[2001:db8::7]:8443",
            "127.0.0.1:9100",
            "[::1]:9101",
        ]));
        assert_eq!(
            text,
            "# Written by `hufu appliance run`; changes are lost.
table inet hufu
delete table inet hufu
table inet hufu {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iif \"lo\" accept
        icmp type echo-request limit rate 10/second accept
        icmpv6 type echo-request limit rate 10/second accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } ip6 hoplimit 255 accept
        icmpv6 type { packet-too-big, destination-unreachable, time-exceeded, parameter-problem } accept
        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
        tcp dport 7000 accept
        ip daddr 192.0.2.7 tcp dport 8444 accept
        tcp dport 8440 accept
        ip6 daddr 2001:db8::7 tcp dport 8443 accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
}
"
        );
    }

    #[test]
    fn nothing_open_is_nothing_accepted() {
        let nothing = ruleset(&BTreeSet::new());
        assert!(!nothing.contains("tcp dport"), "{nothing}");
        assert_eq!(nothing, ruleset(&addresses(&["127.0.0.1:1", "[::1]:2"])));
    }

    #[test]
    fn every_listener_of_a_configuration_has_its_rule() {
        let config = Config::parse(
            r#"
[member]
name = "a"
kinds = ["authority"]
[paths]
data = "/d"
genesis = "/g"
[token]
module = "/m"
label = "a"
[network]
listen = "0.0.0.0:1001"
peers = {}
[services]
gateway = "0.0.0.0:1002"
metrics = "127.0.0.1:1003"
est = "0.0.0.0:1004"
status = "192.0.2.1:1005"
"#,
            "a test",
        )
        .unwrap();
        let text = ruleset(&listeners(&config));
        for port in [1001, 1002, 1004, 1005] {
            assert!(text.contains(&format!("tcp dport {port} accept")), "{text}");
        }
        assert!(!text.contains("1003"), "{text}");
    }

    #[tokio::test]
    async fn it_is_applied_once_and_again_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (file, log) = (directory.path().join("rules"), directory.path().join("log"));
        let program = directory.path().join("nft");
        let script = format!("#!/bin/sh\ncat \"$2\" >>{}\n", log.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let mut firewall = Firewall::new(Some(program), file);
        let (one, two) = (addresses(&["0.0.0.0:1"]), addresses(&["0.0.0.0:2"]));
        for open in [&one, &one, &two] {
            firewall.open(open).await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), ruleset(&one) + &ruleset(&two));

        let mut broken = Firewall::new(Some("/nonexistent/nft".into()), directory.path().join("x"));
        let error = broken.open(&one).await.unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/nft"), "{error:#}");
    }

    proptest! {
        #[test]
        fn a_rule_for_each_listener_that_others_reach_and_no_more(
            open in proptest::collection::btree_set(any::<SocketAddr>(), 0..20)
        ) {
            let text = ruleset(&open);
            let rules: Vec<&str> =
                text.lines().filter(|line| line.contains(" tcp dport ") || line.contains("        tcp dport")).collect();
            let reached: Vec<&SocketAddr> =
                open.iter().filter(|one| !one.ip().to_canonical().is_loopback()).collect();
            prop_assert_eq!(rules.len(), reached.len());
            for (rule, address) in rules.iter().zip(reached) {
                let port = format!("tcp dport {} accept", address.port());
                prop_assert!(rule.ends_with(&port), "{} for {}", rule, address);
                let ip = address.ip().to_canonical();
                prop_assert_eq!(!rule.contains("daddr"), ip.is_unspecified());
            }
            prop_assert_eq!(text.matches('{').count(), text.matches('}').count());
        }
    }
}
