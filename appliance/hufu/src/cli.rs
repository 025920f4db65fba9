//! The command line: nouns, then verbs.

mod appliance;
mod archive;
mod device;
mod examples;
mod member;
mod prove;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hufu_proof::{Algorithm, Digest, Name, NetworkName, Quota, Quotas, Serial, UnixMillis};
use hufu_service::confined;

pub use self::appliance::{
    Appliance, Backup, BackupCommand, Configuration, Install, Part, Reset, Setup, Upgrade,
};
pub use self::archive::Archive;
pub use self::device::{Device, Enroll, Send, Token};
pub use self::member::Member;
pub use self::prove::{Prove, ProveReceipt, ProveState};
pub use self::store::Store;

/// Identity, record and supervision for an industry, in one appliance.
///
/// A new node: `hufu init` holds the key ceremony, the founders run `hufu org
/// found` and compare the digest, every node starts with `hufu serve`.
///
/// Exit status: 0 done; 1 the answer is no (a file does not verify, a package
/// has problems, a transaction is refused); 2 the command or the configuration
/// is wrong; 3 the appliance, its token or a peer cannot be reached or is busy:
/// try again; 4 the node's token or its PIN does not open: do not try again.
#[derive(Debug, Parser)]
#[command(name = "hufu", version, about, long_about, propagate_version = true, after_help = examples::HUFU)]
pub struct Cli {
    /// The node's configuration.
    #[arg(
        long,
        global = true,
        env = "HUFU_CONFIG",
        default_value = "/etc/hufu/hufu.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,

    /// Answer in JSON.
    #[arg(long, global = true)]
    pub json: bool,

    /// Read the token's PIN from this file descriptor. Without it: the systemd
    /// credential `hufu-pin`, or a prompt.
    #[arg(long, global = true, value_name = "FD")]
    pub pin_fd: Option<u32>,

    /// The appliance to speak to, instead of the node on this machine: its
    /// gateway, or for `hufu setup` its setup endpoint.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub appliance: Option<String>,

    /// Where the appliance's files are, for tests.
    #[arg(long, global = true, hide = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Own the machine of an appliance.
    #[command(subcommand)]
    Appliance(Appliance),
    /// Show and change the configuration of an appliance that is set up.
    #[command(subcommand, name = "config")]
    Configuration(Configuration),
    /// Set up a new appliance, in stages: configuration and witnesses, genesis
    /// file, TLS certificate.
    #[command(after_help = examples::SETUP)]
    Setup(Setup),
    /// Write the image that an appliance was started with from a medium to one
    /// of its disks. Without --to: its disks.
    #[command(after_help = examples::INSTALL)]
    Install(Install),
    /// Back up an appliance to a file that some of its operators open together,
    /// and look at such files.
    #[command(after_help = examples::BACKUP)]
    Backup(Backup),
    /// Take an appliance back to its factory state: its keys first, then all
    /// that it keeps.
    #[command(after_help = examples::RESET)]
    Reset(Reset),
    /// Update an appliance, or see what runs on it.
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// Hold the key ceremony: make the token, its keys and, for an authority,
    /// the CA certificates; write a signed transcript and a join request.
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Run the node until it is told to stop (SIGTERM).
    #[command(after_help = examples::SERVE)]
    Serve {
        /// Stop when the process that started it ends.
        #[arg(long, hide = true)]
        with_parent: bool,
        /// Be a front-end: serve what the member's validator has recorded on the
        /// FoundationDB cluster that `[store]` names. It holds no vote key, takes no
        /// transactions and needs no validator to be up; there may be any number.
        #[arg(long)]
        read_only: bool,
    },
    /// What a node has done in a process of its own.
    #[command(hide = true, after_help = examples::CONFINED)]
    Confined {
        /// What.
        #[arg(value_parser = [confined::SQL, confined::PACKAGE])]
        work: String,
    },
    /// Say how the node is, since when and why.
    #[command(after_help = examples::STATUS)]
    Status,
    /// Found a consortium, look at its members.
    #[command(subcommand)]
    Org(Org),
    /// Enrol a device through its TPM, send what it measures.
    #[command(subcommand)]
    Device(Box<Device>),
    /// Issue, show and revoke certificates.
    #[command(subcommand)]
    Cert(Cert),
    /// Say who may act in this member's name, and hand over its devices.
    #[command(subcommand)]
    Member(Member),
    /// Check, deploy and approve contract packages.
    #[command(subcommand)]
    Policy(Policy),
    /// Run a control set as of a height and get a signed report.
    #[command(subcommand)]
    Report(ReportCommand),
    /// Ask the read model in SQL, as of a height.
    #[command(after_help = examples::QUERY)]
    Query(Query),
    /// Send transactions; get blocks and receipts.
    #[command(subcommand)]
    Ledger(Ledger),
    /// Move the record between a directory and a FoundationDB cluster.
    #[command(subcommand)]
    Store(Store),
    /// Write what is old as Parquet partitions, verify them, and get receipts from them.
    #[command(subcommand)]
    Archive(Archive),
    /// Write what others can verify: a transaction's receipt, an asset's state, or that
    /// there is none.
    #[command(subcommand)]
    Prove(Prove),
    /// Verify a certificate, receipt, state proof or report offline, given only the
    /// genesis file. Exit status 1 and the reason when it does not hold.
    #[command(after_help = examples::VERIFY)]
    Verify(Verify),
    /// Measure the running consortium.
    #[command(subcommand)]
    Bench(Bench),
    /// Print shell completions.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory.
    #[command(after_help = examples::MANUAL)]
    Manual {
        /// The directory; it must exist.
        directory: PathBuf,
    },
}

/// `hufu init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Read the token's security-officer PIN from this file descriptor. Needed
    /// only when the token does not exist yet.
    #[arg(long, value_name = "FD")]
    pub so_pin_fd: Option<u32>,

    /// Names of the people who watch, for the transcript.
    #[arg(long = "witness", value_name = "NAME")]
    pub witnesses: Vec<String>,
}

/// `hufu org`.
#[derive(Debug, Subcommand)]
pub enum Org {
    /// Make the genesis file from the founders' join requests. Every founder
    /// runs this on the same files and compares the digest aloud.
    #[command(after_help = examples::ORG_FOUND)]
    Found {
        /// The consortium's name.
        #[arg(long)]
        consortium: Name,
        /// Approvals that a governance proposal needs.
        #[arg(long)]
        approvals: u16,
        /// When it is founded, milliseconds since 1970; the same for every
        /// founder. Default: the newest join request's time.
        #[arg(long)]
        created_ms: Option<UnixMillis>,
        /// Where to write the genesis file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The founders' join requests.
        #[arg(required = true)]
        requests: Vec<PathBuf>,
    },
    /// Show a genesis file and its digest.
    #[command(after_help = examples::ORG_SHOW)]
    Show {
        /// The genesis file.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
    },
    /// The members as the running node sees them.
    #[command(after_help = examples::ORG_MEMBERS)]
    Members,
    /// Propose to take a member in, or to give one its new keys after the loss
    /// of its token; this approves it for this member.
    #[command(after_help = examples::ORG_ADMIT)]
    Admit {
        /// The member's join request, made by `hufu init`.
        request: PathBuf,
    },
    /// Propose what a regulator may see, and which names on the network are a
    /// member's own; this approves it for this member.
    #[command(after_help = examples::ORG_CHANGE)]
    Change {
        /// The member.
        member: Name,
        /// What it may see as a regulator: `whole`, `none`, or a jurisdiction; may
        /// be repeated. Without it, that stays.
        #[arg(long = "jurisdiction", value_name = "NAME")]
        jurisdictions: Vec<Name>,
        /// A name that is its own: a host name with all below it, an address, or a
        /// block of addresses; may be repeated. All of them: those that are left
        /// out it gives up. Without any, they stay.
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<NetworkName>,
        /// It owns no name any more.
        #[arg(long, conflicts_with = "names")]
        no_names: bool,
    },
    /// Propose how much may be recorded in a day, UTC; this approves it for this
    /// member. `hufu status` shows what is used.
    #[command(after_help = examples::ORG_BUDGET)]
    Budget {
        /// Of one device, client or server, in bytes.
        #[arg(long, value_name = "BYTES")]
        identity_bytes: u64,
        /// Of all identities of a member together, in bytes.
        #[arg(long, value_name = "BYTES")]
        member_bytes: u64,
    },
    /// Propose how many transactions may be recorded in a day and a second, and how
    /// many bytes in a second; this approves it for this member. All of them: one that
    /// is left out is without a limit. What is over it is refused with 429 and the
    /// time when it ends; other members go on.
    #[command(after_help = examples::ORG_QUOTAS)]
    Quotas(OrgQuotas),
    /// Propose to suspend a member; this approves it for this member. Until it is
    /// readmitted it reads and does nothing else: nothing is recorded that it, its
    /// devices or its clients sign, its node votes no more from the next epoch on,
    /// and nothing is certified for it.
    #[command(after_help = examples::ORG_SUSPEND)]
    Suspend(OrgStanding),
    /// Propose to dismiss a member for good; this approves it for this member. What
    /// it did stays on the ledger; its keys and certificates count for nothing any
    /// more, and neither they nor its name come back.
    #[command(after_help = examples::ORG_DISMISS)]
    Dismiss(OrgStanding),
    /// Propose to readmit a suspended member; this approves it for this member.
    #[command(after_help = examples::ORG_READMIT)]
    Readmit(OrgStanding),
    /// Show the constitution: the founders', the one in force, and what came or comes
    /// when.
    #[command(after_help = examples::ORG_CONSTITUTION)]
    Constitution,
    /// Propose another constitution, by the rule of the one in force; this approves it
    /// for this member. What is left out stays.
    #[command(after_help = examples::ORG_AMEND)]
    Amend {
        /// Approvals that a governance proposal needs.
        #[arg(long)]
        approvals: Option<u16>,
        /// An algorithm that transactions may be signed by; may be repeated. All of
        /// them: one that is left out is retired. Without any, they stay.
        #[arg(long = "algorithm", value_name = "NAME")]
        algorithms: Vec<Algorithm>,
        /// The first height at which it is in force. Default: once it is decided.
        #[arg(long, value_name = "HEIGHT")]
        from: Option<u64>,
    },
    /// Show what a proposal would do. Compare the fingerprints with the member
    /// before you approve.
    #[command(after_help = examples::ORG_REVIEW)]
    Review {
        /// The proposal's digest.
        proposal: Digest,
    },
    /// Approve a proposal, and show what it does.
    #[command(after_help = examples::ORG_APPROVE)]
    Approve {
        /// The proposal's digest.
        proposal: Digest,
    },
}

/// What is to limit what may be recorded.
#[derive(Debug, Args)]
pub struct OrgQuotas {
    /// Transactions of one device, client or server in a day, UTC.
    #[arg(long, value_name = "COUNT")]
    pub identity_a_day: Option<u64>,
    /// Transactions of one in a second.
    #[arg(long, value_name = "COUNT")]
    pub identity_a_second: Option<u64>,
    /// Bytes of one in a second.
    #[arg(long, value_name = "BYTES")]
    pub identity_bytes_a_second: Option<u64>,
    /// Transactions of all identities of a member together in a day, UTC.
    #[arg(long, value_name = "COUNT")]
    pub member_a_day: Option<u64>,
    /// Transactions of all in a second.
    #[arg(long, value_name = "COUNT")]
    pub member_a_second: Option<u64>,
    /// Bytes of all in a second.
    #[arg(long, value_name = "BYTES")]
    pub member_bytes_a_second: Option<u64>,
}

impl From<OrgQuotas> for Quotas {
    fn from(said: OrgQuotas) -> Self {
        Self {
            identity: Quota {
                transactions_a_day: said.identity_a_day,
                transactions_a_second: said.identity_a_second,
                bytes_a_second: said.identity_bytes_a_second,
            },
            member: Quota {
                transactions_a_day: said.member_a_day,
                transactions_a_second: said.member_a_second,
                bytes_a_second: said.member_bytes_a_second,
            },
        }
    }
}

/// Whose standing is to change, and why.
#[derive(Debug, Args)]
pub struct OrgStanding {
    /// The member.
    pub member: Name,
    /// Why, for those who approve it and for the record.
    #[arg(long)]
    pub reason: String,
}

/// `hufu cert`.
#[derive(Debug, Subcommand)]
pub enum Cert {
    /// Issue a certificate for a request (authority only).
    #[command(after_help = examples::CERT_ISSUE)]
    Issue {
        /// The certificate profile.
        #[arg(long)]
        profile: Name,
        /// The member that answers for the subject.
        #[arg(long)]
        member: Name,
        /// A role the certificate carries; may be repeated.
        #[arg(long = "role")]
        roles: Vec<Name>,
        /// The request (PKCS#10: PEM, base64 or DER, as programs write it).
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// Issue a new certificate although the same request has one that is
        /// not due for renewal.
        #[arg(long)]
        renew: bool,
        /// Where to write the certificate and its issuer (PEM).
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Install this node's TLS certificate chain; its services start with it.
    #[command(after_help = examples::CERT_INSTALL)]
    Install {
        /// Certificate, then issuer (PEM).
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
    },
    /// Renew this node's TLS certificate now, for the key in its token; its services
    /// go on with the new one. Also when the old one has ended: the authority, which
    /// `[ca] est_url` names, takes the word of the member's statement key.
    #[command(after_help = examples::CERT_RENEW)]
    Renew,
    /// Make the authority's next issuing certificate, for the same key (authority
    /// only, where the token holds the root's key). The node does it by itself when
    /// a third of the life of the last is left.
    #[command(after_help = examples::CERT_RENEW_ISSUING)]
    RenewIssuing,
    /// List certificates from the ledger.
    #[command(after_help = examples::CERT_LIST)]
    List {
        /// Only those of this member.
        #[arg(long)]
        member: Option<Name>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one certificate's record.
    #[command(after_help = examples::CERT_SHOW)]
    Show {
        /// Its serial number, hexadecimal.
        serial: Serial,
    },
    /// Make a new revocation list of the root (authority only, where the token
    /// holds the root's key).
    #[command(after_help = examples::CERT_ROOT_LIST)]
    RootList {
        /// Put the issuing certificate on it: all that it issued ends.
        #[arg(long, value_name = "REASON")]
        revoke_issuing: Option<Reason>,
    },
    /// Revoke a certificate (authority only), or give a revocation that stands
    /// another reason: keyCompromise, or any where none was given.
    #[command(after_help = examples::CERT_REVOKE)]
    Revoke {
        /// Its serial number, hexadecimal.
        serial: Serial,
        /// Why (RFC 5280 §5.3.1).
        #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
        reason: Reason,
    },
    /// Write the certificate with its issuance receipt, for `hufu verify`
    /// (authority only).
    #[command(after_help = examples::CERT_BUNDLE)]
    Bundle {
        /// Its serial number, hexadecimal.
        serial: Serial,
        /// Where to write it (PEM).
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// CRLReason (RFC 5280 §5.3.1), as far as it ends a certificate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Reason {
    /// No reason given.
    Unspecified = 0,
    /// The subject's key is known to somebody else.
    KeyCompromise = 1,
    /// The subject's name or owner changed.
    AffiliationChanged = 3,
    /// There is a newer certificate.
    Superseded = 4,
    /// The device is out of use.
    CessationOfOperation = 5,
    /// The privilege was withdrawn.
    PrivilegeWithdrawn = 9,
}

/// `hufu policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check a package and run its scenario tests. Needs no running node.
    #[command(after_help = examples::POLICY_CHECK)]
    Check {
        /// The package's directory.
        directory: PathBuf,
        /// Directories of packages it requires; found beside it by default.
        #[arg(long = "requires", value_name = "DIR")]
        requires: Vec<PathBuf>,
        /// Directory of the version that this one replaces: also list what
        /// changes.
        #[arg(long, value_name = "DIR")]
        against: Option<PathBuf>,
    },
    /// Propose a package's deployment, which approves it for this member.
    #[command(after_help = examples::POLICY_DEPLOY)]
    Deploy {
        /// The package's directory.
        directory: PathBuf,
    },
    /// Approve a proposal.
    #[command(after_help = examples::POLICY_APPROVE)]
    Approve {
        /// The proposal's digest.
        proposal: Digest,
    },
    /// Propose that a member has a role of a contract.
    #[command(after_help = examples::POLICY_GRANT)]
    Grant {
        /// The contract.
        #[arg(long)]
        contract: Name,
        /// The role.
        #[arg(long)]
        role: Name,
        /// The member.
        #[arg(long)]
        member: Name,
    },
    /// The contracts and open proposals.
    #[command(after_help = examples::POLICY_LIST)]
    List,
}

/// `hufu report`.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Run a control set as of a height on a member's node.
    #[command(after_help = examples::REPORT_RUN)]
    Run(ReportRun),
}

/// `hufu report run`. Authenticates with the node key of this member's token.
#[derive(Debug, Args)]
pub struct ReportRun {
    /// The member's gateway.
    #[arg(long, value_name = "URL")]
    pub gateway: String,
    /// Whose gateway it is; another member's server is not spoken to. Default:
    /// this member's.
    #[arg(long)]
    pub member: Option<Name>,
    /// The root certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// The contract that defines the control set.
    #[arg(long, default_value = "operation-supervision")]
    pub contract: Name,
    /// The control set.
    #[arg(long)]
    pub control_set: Name,
    /// As of which height. Default: the newest that can be proved.
    #[arg(long)]
    pub as_of: Option<u64>,
    /// One jurisdiction, of those that the regulator has. Default: everything.
    #[arg(long)]
    pub jurisdiction: Option<Name>,
    /// A control's parameter, for instance `over-limit.tolerance=0.5`; may be
    /// repeated.
    #[arg(long = "param", value_name = "CONTROL.NAME=VALUE")]
    pub params: Vec<String>,
    /// The report's form. Default: by the ending of `--out` (.html, .json, .zip).
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    /// The report's language.
    #[arg(long, value_enum, default_value_t = Language::En)]
    pub lang: Language,
    /// The local time that people read in it, ahead of UTC, for instance +08:00.
    /// Default: +00:00 in English, +08:00 in Chinese.
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    pub utc_offset: Option<hufu_report::UtcOffset>,
    /// Compare with the run as of this height. Default: the last one of this
    /// control set with these parameters.
    #[arg(long, value_name = "HEIGHT")]
    pub since: Option<u64>,
    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// To read and print.
    Html,
    /// To process, with all evidence.
    Json,
    /// To open in a spreadsheet: a ZIP with a table for each control.
    Csv,
}

/// The languages of what people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// English.
    En,
    /// Chinese.
    Zh,
}

/// `hufu query`.
#[derive(Debug, Args)]
pub struct Query {
    /// One SELECT, for instance `SELECT * FROM device_registry.device`.
    pub sql: String,
    /// As of which height. Default: the newest.
    #[arg(long)]
    pub as_of: Option<u64>,
    /// With `--json`: write whole numbers as text, for readers that lose the last
    /// digits of what is over 2^53.
    #[arg(long)]
    pub text_numbers: bool,
}

/// `hufu ledger`.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Do an action of a contract, signed by this member's token.
    #[command(after_help = examples::LEDGER_INVOKE)]
    Invoke {
        /// The contract.
        #[arg(long)]
        contract: Name,
        /// The action.
        #[arg(long)]
        action: Name,
        /// The asset's key.
        #[arg(long)]
        asset: String,
        /// A parameter, `name=value`, of a list or set in JSON (`name=["a", "b"]`);
        /// may be repeated.
        #[arg(long = "param", value_name = "NAME=VALUE")]
        params: Vec<String>,
    },
    /// Let happen what a contract waits for a date with, if the date has come.
    /// Validators do by themselves, within seconds.
    #[command(after_help = examples::LEDGER_FIRE)]
    Fire {
        /// The contract.
        #[arg(long)]
        contract: Name,
        /// The trigger.
        #[arg(long)]
        trigger: Name,
        /// The asset's key.
        #[arg(long)]
        asset: String,
    },
    /// Get the receipt of a transaction.
    #[command(after_help = examples::LEDGER_RECEIPT)]
    Receipt {
        /// The transaction's identifier.
        transaction: Digest,
        /// Where to write it (PEM). Default: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show a block.
    #[command(after_help = examples::LEDGER_BLOCK)]
    Block {
        /// Its height.
        height: u64,
    },
}

/// `hufu verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The genesis file: all that needs to be trusted.
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// A certificate with its issuance receipt, a receipt, a state proof, or a
    /// report.
    pub file: PathBuf,
}

/// `hufu bench`. Both print a ratio to the raw limit measured in the same run.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Certificates per second over EST and mTLS, recorded on the ledger.
    Issue(BenchIssue),
    /// Finalized transactions per second.
    Ledger(BenchLedger),
}

/// `hufu bench issue`.
#[derive(Debug, Args)]
pub struct BenchIssue {
    /// The EST server.
    #[arg(long, value_name = "URL")]
    pub est: String,
    /// The root certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Certificates to get.
    #[arg(long, default_value_t = 2000)]
    pub count: usize,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
}

/// `hufu bench ledger`.
#[derive(Debug, Args)]
pub struct BenchLedger {
    /// The EST server, for the senders' certificates.
    #[arg(long, value_name = "URL")]
    pub est: String,
    /// Members' gateways; the load is spread over them.
    #[arg(long = "gateway", value_name = "URL", required = true)]
    pub gateways: Vec<String>,
    /// The root certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Transactions to send.
    #[arg(long, default_value_t = 50_000)]
    pub count: usize,
    /// Distinct signers.
    #[arg(long, default_value_t = 2000)]
    pub signers: usize,
    /// Transactions in one request to a gateway.
    #[arg(long, default_value_t = 250)]
    pub bundle: usize,
}

/// A moment as people write it.
fn moment(text: &str) -> Result<UnixMillis, String> {
    hufu_contract::time::parse(text).map(UnixMillis)
}

/// Parses `name=value`.
///
/// # Errors
/// A sentence when there is no `=` or the name is none.
pub fn parse_parameter(text: &str) -> anyhow::Result<(Name, String)> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| anyhow::anyhow!("`{text}` is not of the form NAME=VALUE"))?;
    Ok((Name::new(name)?, value.to_owned()))
}
