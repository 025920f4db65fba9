//! Examples for `--help`. A test parses every line of them, so that none goes
//! stale.

/// Appended to `hufu --help`.
pub const HUFU: &str = "\
Examples, from an empty machine to a report (each command's --help has its own):
  hufu --config node.toml init --witness 'Li Wei' --witness 'Ana Silva'
  hufu org found --consortium pumps --approvals 2 --out genesis.json authority/join.json maker/join.json
  hufu --config node.toml serve
  hufu --config node.toml status
  hufu --config node.toml policy deploy policies/device-registry";

/// `hufu appliance run`.
pub const APPLIANCE_RUN: &str = "\
Examples:
  # On the appliance, as hufu-appliance.service does:
  hufu appliance run --user hufu --sealed-volume /var
  # On a machine without TPM, service manager and firewall of its own:
  hufu appliance run --seal host --node child --no-firewall";

/// `hufu appliance trial`.
pub const APPLIANCE_TRIAL: &str = "\
Examples:
  # As hufu-trial.service does, before boot-complete.target:
  hufu appliance trial --within 900";

/// `hufu appliance floor`.
pub const APPLIANCE_FLOOR: &str = "\
Examples:
  # As hufu-floor-check.service does, before the node:
  hufu appliance floor
  # As hufu-floor.service does, when a release is there to stay:
  hufu appliance floor --raise";

/// `hufu upgrade apply`.
pub const UPGRADE_APPLY: &str = "\
Examples, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 upgrade apply hufu_2.update
  # From a server:
  hufu --config workstation.toml --appliance https://node.example:8444 upgrade apply https://releases.example/hufu_2.update";

/// `hufu upgrade status`.
pub const UPGRADE_STATUS: &str = "\
Examples:
  hufu --config workstation.toml --appliance https://node.example:8444 upgrade status";

/// `hufu config show`.
pub const CONFIG_SHOW: &str = "\
Examples:
  hufu --config workstation.toml --appliance https://node.example:8444 config show > hufu.toml";

/// `hufu config apply`.
pub const CONFIG_APPLY: &str = "\
Examples, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 config apply hufu.toml";

/// `hufu config confirm`.
pub const CONFIG_CONFIRM: &str = "\
Examples:
  # The new configuration has moved the gateway:
  hufu --config workstation.toml --appliance https://node.example:9444 config confirm";

/// `hufu appliance part`.
pub const APPLIANCE_PART: &str = "\
Examples:
  # As `hufu appliance run` does:
  hufu --config hufu.toml appliance part copy-store";

/// `hufu backup`.
pub const BACKUP: &str = "\
Examples, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 backup --recipient age1operatorone --recipient age1operatortwo --recipient age1operatorthree --threshold 2 --out maker.backup
  hufu backup inspect maker.backup";

/// `hufu backup inspect`.
pub const BACKUP_INSPECT: &str = "\
Examples:
  hufu backup inspect maker.backup
  # With each operator's sealed share, for `base64 -d | age -d`:
  hufu --json backup inspect maker.backup";

/// `hufu backup open-share`.
pub const BACKUP_OPEN_SHARE: &str = "\
Examples:
  hufu backup open-share maker.backup --identity key.txt --out share-1.txt";

/// `hufu reset`.
pub const RESET: &str = "\
Examples, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 reset --confirm maker
  # The HSM is gone:
  hufu --config workstation.toml --appliance https://node.example:8444 reset --confirm maker --without-token";

/// `hufu setup`.
pub const SETUP: &str = "\
Examples, with address, fingerprint and code from the appliance's console:
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --config hufu.toml --witness 'Li Wei' --witness 'Ana Silva'
  # When the founders have agreed on a genesis file:
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --genesis genesis.json
  # At the authority, when the others' nodes run, too:
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --administrator workstation/tls.csr
  # Elsewhere, when the authority has certified tls.csr; the first administrator's key is approved with it:
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --administrator workstation/tls.csr --chain tls.pem
  # A new machine in place of one that is lost, by two of its operators:
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --restore maker.backup --share share-1.txt
  hufu setup --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --restore maker.backup --identity key.txt";

/// `hufu install`.
pub const INSTALL: &str = "\
Examples, with address, fingerprint and code from the appliance's console:
  hufu install --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH
  hufu install --appliance 192.0.2.7 --fingerprint AB:CD --code ABCD-EFGH --to nvme0n1";

/// `hufu init`.
pub const INIT: &str = "\
Examples:
  # A new token: the security officer's PIN comes on descriptor 4, the user's on 3.
  hufu --config node.toml --pin-fd 3 init --so-pin-fd 4 --witness 'Li Wei' 3<user.pin 4<officer.pin
  # The token exists; the PIN is asked for.
  hufu --config node.toml init --witness 'Li Wei'";

/// `hufu serve`.
pub const SERVE: &str = "\
Examples:
  hufu --config node.toml serve
  # On another machine, over the same FoundationDB cluster:
  hufu --config front-end.toml serve --read-only
  # Under systemd the PIN is a credential: LoadCredential=hufu-pin:/etc/hufu/pin
  # What the log says is chosen as the tracing library writes it:
  HUFU_LOG=info,hufu_consensus=debug hufu --config node.toml serve";

/// `hufu confined`.
pub const CONFINED: &str = "\
Examples:
  # As a node does for a query, with a socket as standard input:
  hufu confined sql";

/// `hufu status`.
pub const STATUS: &str = "\
Examples:
  # An appliance, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 status
  hufu --config node.toml status
  hufu --config node.toml --json status | jq .ledger.height";

/// `hufu org found`.
pub const ORG_FOUND: &str = "\
Examples:
  hufu org found --consortium pumps --approvals 3 --out genesis.json authority/join.json maker/join.json operator/join.json regulator/join.json
  # Every founder compares the digest:
  hufu org show --genesis genesis.json";

/// `hufu org show`.
pub const ORG_SHOW: &str = "\
Examples:
  hufu org show --genesis genesis.json
  hufu --json org show --genesis genesis.json | jq -r .digest";

/// `hufu org members`.
pub const ORG_MEMBERS: &str = "\
Examples:
  hufu --config node.toml org members";

/// `hufu org admit`.
pub const ORG_ADMIT: &str = "\
Examples:
  hufu --config node.toml org admit maker/join.json
  hufu --json --config node.toml org admit maker/join.json | jq -r .proposal";

/// `hufu org review`.
pub const ORG_REVIEW: &str = "\
Examples:
  hufu --config node.toml org review 5f0c4b3f6f0e2c1d9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f";

/// `hufu org quotas`.
pub const ORG_QUOTAS: &str = "\
Examples:
  hufu --config node.toml org quotas --identity-a-second 50 --member-a-second 2000 --member-bytes-a-second 4194304
  # Without limits, but for the bytes of a day:
  hufu --config node.toml org quotas";

/// `hufu org suspend`.
pub const ORG_SUSPEND: &str = "\
Examples:
  hufu --config node.toml org suspend maker --reason 'its gateway floods the ledger'
  hufu --json --config node.toml org suspend maker --reason 'under inquiry' | jq -r .proposal";

/// `hufu org dismiss`.
pub const ORG_DISMISS: &str = "\
Examples:
  hufu --config node.toml org dismiss maker --reason 'it has left the industry'
  # What other programs should refuse as well, the authority revokes:
  hufu --config authority.toml cert list --member maker";

/// `hufu org readmit`.
pub const ORG_READMIT: &str = "\
Examples:
  hufu --config node.toml org readmit maker --reason 'the inquiry is closed'";

/// `hufu org constitution`.
pub const ORG_CONSTITUTION: &str = "\
Examples:
  hufu --config node.toml org constitution
  hufu --json --config node.toml org constitution | jq .in_force.approvals";

/// `hufu org amend`.
pub const ORG_AMEND: &str = "\
Examples:
  hufu --config node.toml org amend --approvals 4 --from 250000
  hufu --config node.toml org amend --algorithm ed25519 --algorithm ecdsa-p256";

/// `hufu org budget`.
pub const ORG_BUDGET: &str = "\
Examples:
  hufu --config node.toml org budget --identity-bytes 67108864 --member-bytes 1073741824";

/// `hufu org approve`.
pub const ORG_APPROVE: &str = "\
Examples:
  hufu --config node.toml org approve 5f0c4b3f6f0e2c1d9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f";

/// `hufu device enroll`.
pub const DEVICE_ENROLL: &str = "\
Examples:
  hufu --config maker.toml device enroll --tcti device:/dev/tpmrm0 --state /var/lib/pump --est https://ca.example:8443 --ca root.pem --device-id PUMP-0001 --out pump-0001.pem";

/// `hufu device send`.
pub const DEVICE_SEND: &str = "\
Examples:
  # readings.csv begins with: measured_at,metric,value
  # a row of it: 2026-11-20T15:00:00+08:00,temperature,20.5
  hufu device send --tcti device:/dev/tpmrm0 --state /var/lib/pump --gateway https://node.example:8444 --ca root.pem --genesis genesis.json --file readings.csv";

/// `hufu device token`.
pub const DEVICE_TOKEN: &str = "\
Examples:
  hufu --config authority.toml device token --owner maker --device-id PUMP-0001
  # A hundred devices of one batch, this week:
  hufu --config authority.toml device token --owner maker --keys 100 --valid-for 7d
  # The device then enrols with any EST client:
  curl --cacert root.pem --user USER:PASSWORD -H 'Content-Type: application/pkcs10' --data-binary @request.b64 https://ca.example:8443/.well-known/est/idevid/simpleenroll
  pki --est --url https://ca.example:8443 --cacert root.pem --cacert issuing.pem --userpass USER:PASSWORD --in request.der";

/// `hufu member approve`.
pub const MEMBER_APPROVE: &str = "\
Examples:
  hufu --config maker.toml member approve --csr line.csr --role registration-authority
  # The authority then issues the certificate:
  hufu --config authority.toml cert issue --profile operator-client --member maker --role registration-authority --csr line.csr --out line.pem
  # An administrator, for a year:
  hufu --config maker.toml member approve --csr workstation/tls.csr --role administrator --until 2028-01-31T00:00:00Z";

/// `hufu member withdraw`.
pub const MEMBER_WITHDRAW: &str = "\
Examples:
  hufu --config maker.toml member list
  hufu --config maker.toml member withdraw 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// `hufu member delegate`.
pub const MEMBER_DELEGATE: &str = "\
Examples:
  hufu --config maker.toml member delegate --role registration-authority --until 2028-01-31T00:00:00Z
  # The end of it:
  hufu --config maker.toml member delegate";

/// `hufu member hand-over`.
pub const MEMBER_HAND_OVER: &str = "\
Examples:
  hufu --config maker.toml member hand-over --device PUMP-0001 --to operator
  # Beside it, the owner's action `transfer` under the contract `device-registry`.";

/// `hufu member announce`.
pub const MEMBER_ANNOUNCE: &str = "\
Examples, on the node at its new place:
  hufu --config maker.toml member announce node.maker.example:7000
  hufu --config maker.toml member announce --withdraw";

/// `hufu member list`.
pub const MEMBER_LIST: &str = "\
Examples:
  hufu --config maker.toml member list
  hufu --config maker.toml --json member list | jq -r '.approvals[].key'";

/// `hufu org change`.
pub const ORG_CHANGE: &str = "\
Examples:
  hufu --config node.toml org change regulator --jurisdiction north --jurisdiction west
  hufu --config node.toml org change regulator --jurisdiction whole
  hufu --config node.toml org change maker --name maker.example --name 192.0.2.0/24";

/// `hufu cert issue`.
pub const CERT_ISSUE: &str = "\
Examples:
  hufu --config authority.toml cert issue --profile member-node --member maker --csr maker/tls.csr --out maker.pem
  # A role needs the member's approval of the key first, on its own node:
  hufu --config maker.toml member approve --csr line.csr --role registration-authority
  hufu --config authority.toml cert issue --profile operator-client --member maker --role registration-authority --csr line.csr --out line.pem
  # Before its end, for the same key:
  hufu --config authority.toml cert issue --renew --profile member-node --member maker --csr maker/tls.csr --out maker.pem";

/// `hufu cert install`.
pub const CERT_INSTALL: &str = "\
Examples:
  hufu --config node.toml cert install --chain maker.pem";

/// `hufu cert renew`.
pub const CERT_RENEW: &str = "\
Examples:
  hufu --config node.toml cert renew";

/// `hufu cert list`.
pub const CERT_LIST: &str = "\
Examples:
  hufu --config node.toml cert list --member maker --limit 20
  hufu --config node.toml --json cert list | jq -r '.[] | select(.status == \"good\") | .serial'";

/// `hufu cert show`.
pub const CERT_SHOW: &str = "\
Examples:
  hufu --config node.toml cert show 5f3a9c";

/// `hufu cert root-list`.
pub const CERT_ROOT_LIST: &str = "\
Examples:
  hufu --config authority.toml cert root-list
  # The issuing authority's key is out: who checks the whole chain learns it.
  hufu --config authority.toml cert root-list --revoke-issuing key-compromise";

/// `hufu cert renew-issuing`.
pub const CERT_RENEW_ISSUING: &str = "\
Examples:
  hufu --config authority.toml cert renew-issuing
  # What devices fetch has both, the new one and the root:
  curl --cacert root.pem https://ca.example:8443/.well-known/est/cacerts";

/// `hufu cert revoke`.
pub const CERT_REVOKE: &str = "\
Examples:
  hufu --config authority.toml cert revoke 5f3a9c --reason key-compromise";

/// `hufu cert bundle`.
pub const CERT_BUNDLE: &str = "\
Examples:
  hufu --config authority.toml cert bundle 5f3a9c --out pump.pem
  # Anyone can check it, offline:
  hufu verify --genesis genesis.json pump.pem";

/// `hufu policy check`.
pub const POLICY_CHECK: &str = "\
Examples:
  hufu policy check policies/operation-supervision
  # What a new version changes:
  hufu policy check new/device-registry --against policies/device-registry";

/// `hufu policy deploy`.
pub const POLICY_DEPLOY: &str = "\
Examples:
  hufu --config node.toml policy deploy policies/device-registry
  # The other members approve the proposal that it names:
  hufu --config other.toml policy approve 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// `hufu policy approve`.
pub const POLICY_APPROVE: &str = "\
Examples:
  hufu --config node.toml policy list
  hufu --config node.toml policy approve 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// `hufu policy grant`.
pub const POLICY_GRANT: &str = "\
Examples:
  hufu --config node.toml policy grant --contract device-registry --role maker --member pump-works";

/// `hufu policy list`.
pub const POLICY_LIST: &str = "\
Examples:
  hufu --config node.toml policy list
  hufu --config node.toml --json policy list | jq '.proposals'";

/// `hufu report run`.
pub const REPORT_RUN: &str = "\
Examples:
  hufu --config regulator.toml report run --gateway https://node.example:8444 --ca root.pem --control-set operation-baseline --out report.html
  # As of a height, with another threshold, to process:
  hufu --config regulator.toml report run --gateway https://node.example:8444 --ca root.pem --control-set operation-baseline --as-of 1200 --param over-limit.tolerance=0.5 --out report.json
  # In Chinese, with the times of another place; the tables for a spreadsheet:
  hufu --config regulator.toml report run --gateway https://node.example:8444 --ca root.pem --control-set operation-baseline --lang zh --utc-offset +06:00 --out report.zip
  hufu verify --genesis genesis.json report.json";

/// `hufu query`.
pub const QUERY: &str = "\
Examples:
  hufu --config node.toml query 'SELECT device_id, owner FROM device_registry.device'
  # As it was at a height; what can be asked for:
  hufu --config node.toml query --as-of 1200 'SELECT count(*) FROM ledger.certificates'";

/// `hufu ledger invoke`.
pub const LEDGER_INVOKE: &str = "\
Examples:
  hufu --config operator.toml ledger invoke --contract operation-supervision --action watch --asset W1 --param device=PUMP-0001 --param metric=temperature --param low=20 --param high=850.5";

/// `hufu ledger fire`.
pub const LEDGER_FIRE: &str = "\
Examples:
  hufu --config maker.toml ledger fire --contract leasing --trigger overdue --asset LEASE-0001";

/// `hufu ledger receipt`.
pub const LEDGER_RECEIPT: &str = "\
Examples:
  hufu --config node.toml ledger receipt 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --out receipt.pem
  hufu verify --genesis genesis.json receipt.pem";

/// `hufu ledger block`.
pub const LEDGER_BLOCK: &str = "\
Examples:
  hufu --config node.toml ledger block 1200";

/// `hufu store copy`.
pub const STORE_COPY: &str = "\
Examples, with the node stopped:
  # From the data directory to the cluster that [store] in the other file names:
  hufu --config /etc/hufu/hufu.toml store copy --to /etc/hufu/foundationdb.toml
  # And back:
  hufu --config /etc/hufu/foundationdb.toml store copy --to /etc/hufu/hufu.toml";

/// `hufu archive create`.
pub const ARCHIVE_CREATE: &str = "\
Examples:
  hufu --config node.toml archive create
  # No further than a height:
  hufu --config node.toml archive create --to 120000";

/// `hufu archive list`.
pub const ARCHIVE_LIST: &str = "\
Examples:
  hufu --config node.toml archive list
  # Whatever is not declared on the ledger:
  hufu --config node.toml --json archive list | jq '.partitions[] | select(.declared | not)'";

/// `hufu archive verify`.
pub const ARCHIVE_VERIFY: &str = "\
Examples:
  hufu archive verify 000000000001-000000010002 --genesis genesis.json
  # And that it is the one that its member declared last, as this node has it:
  hufu --config node.toml archive verify 000000000001-000000010002 --genesis genesis.json --node";

/// `hufu archive receipt`.
pub const ARCHIVE_RECEIPT: &str = "\
Examples:
  hufu archive receipt 000000000001-000000010002 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --genesis genesis.json --out receipt.pem
  hufu verify --genesis genesis.json receipt.pem";

/// `hufu archive fetch`.
pub const ARCHIVE_FETCH: &str = "\
Examples:
  hufu --config node.toml archive fetch 1 --into /media/tape
  # An appliance, from an administrator's workstation:
  hufu --config workstation.toml --appliance https://node.example:8444 archive fetch 1 --into archive";

/// `hufu archive restore`.
pub const ARCHIVE_RESTORE: &str = "\
Examples, on the machine of the node:
  hufu --config node.toml archive restore /media/tape/000000000001-000000010002";

/// `hufu prove state`.
pub const PROVE_STATE: &str = "\
Examples:
  hufu --config node.toml prove state --contract device-registry --asset-type device --asset PUMP-1 --out pump.pem
  # As of an older height.
  hufu --config node.toml prove state --contract device-registry --asset-type device --asset PUMP-1 --as-of 1200 --out pump.pem
  hufu verify --genesis genesis.json pump.pem";

/// `hufu prove receipt`.
pub const PROVE_RECEIPT: &str = "\
Examples:
  hufu --config node.toml prove receipt 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --out receipt.pem
  hufu verify --genesis genesis.json receipt.pem
  # For a verifier of COSE receipts, which needs the entry as well:
  hufu --config node.toml prove receipt 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --cose --entry entry.bin --out receipt.cose";

/// `hufu prove log-keys`.
pub const PROVE_LOG_KEYS: &str = "\
Examples:
  hufu prove log-keys --genesis genesis.json
  curl --cacert root.pem https://gateway.example:8444/v1/log/checkpoint";

/// `hufu verify`.
pub const VERIFY: &str = "\
Examples:
  hufu verify --genesis genesis.json report.html
  # In a script: the status says it.
  hufu --json verify --genesis genesis.json receipt.pem && echo good";

/// `hufu completions`.
pub const COMPLETIONS: &str = "\
Examples:
  hufu completions bash > /etc/bash_completion.d/hufu";

/// `hufu manual`.
pub const MANUAL: &str = "\
Examples:
  hufu manual /usr/local/share/man/man1";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _, Parser as _};

    use crate::cli::Cli;

    /// The words of a line as a shell splits them, up to where another command
    /// or file begins.
    fn words(line: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let (mut word, mut quote) = (None::<String>, None::<char>);
        for character in line.chars() {
            match (quote, character) {
                (Some(open), close) if open == close => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (_, other) => word.get_or_insert_default().push(other),
            }
        }
        words.extend(word);
        let ends = |word: &String| matches!(word.as_str(), "|" | "&&" | ">") || word.contains('<');
        words.into_iter().take_while(|word| !ends(word)).collect()
    }

    fn walk(command: &Command, name: &str, examples: &mut usize) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
            let from = line.find("hufu ").filter(|_| !line.starts_with('#'));
            let Some(from) = from else { continue };
            if let Err(error) = Cli::try_parse_from(words(&line[from..])) {
                panic!("{name}: {line}\n{error}");
            }
            *examples += 1;
        }
        let mut subcommands = command.get_subcommands().peekable();
        if subcommands.peek().is_none() && !name.contains(" bench ") {
            assert!(help.starts_with("Examples"), "{name} has no examples");
        }
        for command in subcommands {
            walk(command, &format!("{name} {}", command.get_name()), examples);
        }
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut examples = 0;
        walk(&Cli::command(), "hufu", &mut examples);
        assert!(examples > 30, "{examples}");
    }
}
