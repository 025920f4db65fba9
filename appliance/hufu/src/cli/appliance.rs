//! Arguments of `hufu appliance` and `hufu setup`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::examples;

/// `hufu appliance`.
#[derive(Debug, Subcommand)]
pub enum Appliance {
    /// Own the machine: decide and show its state, serve setup, keep the PINs
    /// sealed, set the firewall, run the node.
    #[command(after_help = examples::APPLIANCE_RUN)]
    Run(Box<hufu_host::Options>),
    /// Wait until a release on trial has shown that it is good; fails when it
    /// does not, and the machine goes back. Units of the image run this.
    #[command(after_help = examples::APPLIANCE_TRIAL)]
    Trial {
        /// How long it may take, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 900)]
        within: u64,
        /// How long all must have been well, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        steady: u64,
    },
    /// Refuse to run a release below the machine's floor, which a counter in the
    /// TPM keeps. Units of the image run this.
    #[command(after_help = examples::APPLIANCE_FLOOR)]
    Floor {
        /// Raise the floor to what the running release asks for, instead.
        #[arg(long)]
        raise: bool,
    },
    /// What the owner of a machine has done by the node's user.
    #[command(hide = true, after_help = examples::APPLIANCE_PART)]
    Part {
        /// What.
        part: Part,
    },
}

/// What the owner of a machine has done by the node's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Copy the authority's records for a backup.
    CopyStore,
    /// Destroy the member's keys in its token.
    DestroyKeys,
}

/// `hufu backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Backup {
    /// Something about a backup that exists.
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
    /// An operator's age recipient (age1...); once for each operator. Default:
    /// those of `[backup]` in the appliance's configuration, which lets in no
    /// others.
    #[arg(long = "recipient", value_name = "AGE1")]
    pub recipients: Vec<String>,
    /// How many of the operators it takes to open it. Default: as the
    /// configuration says.
    #[arg(long, value_name = "NUMBER")]
    pub threshold: Option<u8>,
    /// Where to write it; nothing may be there.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `hufu backup inspect` and `open-share`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// What may be known of a backup without keys: whose it is, of when, and
    /// which operators open it.
    #[command(after_help = examples::BACKUP_INSPECT)]
    Inspect {
        /// The backup.
        file: PathBuf,
    },
    /// Open an operator's share, on the operator's own workstation.
    #[command(after_help = examples::BACKUP_OPEN_SHARE)]
    OpenShare {
        /// The backup.
        file: PathBuf,
        /// What `age-keygen` wrote.
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
        /// Where to write the share. Default: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// `hufu reset`.
#[derive(Debug, Args)]
pub struct Reset {
    /// The member's name: nobody resets another machine by mistake.
    #[arg(long, value_name = "MEMBER")]
    pub confirm: String,
    /// Go on where the keys in the token cannot be destroyed.
    #[arg(long)]
    pub without_token: bool,
}

/// `hufu upgrade`.
#[derive(Debug, Subcommand)]
pub enum Upgrade {
    /// Check the signed release, write it to the idle slot and boot it on trial.
    /// The machine goes back by itself when it does not get ready.
    #[command(after_help = examples::UPGRADE_APPLY)]
    Apply {
        /// The update (`hufu_VERSION.update`): a file, a URL (`https:`, `http:`), or
        /// `-` for standard input.
        #[arg(value_name = "FILE|URL")]
        update: String,
    },
    /// What runs, whether it is on trial, and the floor below which no release
    /// runs any more.
    #[command(after_help = examples::UPGRADE_STATUS)]
    Status,
}

/// `hufu config`.
#[derive(Debug, Subcommand)]
pub enum Configuration {
    /// Print the appliance's configuration.
    #[command(after_help = examples::CONFIG_SHOW)]
    Show,
    /// Run the node with another configuration, and keep it when it answers;
    /// otherwise the one before comes back by itself.
    #[command(after_help = examples::CONFIG_APPLY)]
    Apply {
        /// The configuration.
        file: PathBuf,
    },
    /// Keep the configuration on trial, when the node answers elsewhere with it.
    #[command(after_help = examples::CONFIG_CONFIRM)]
    Confirm,
}

/// `hufu install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The certificate's SHA-256 fingerprint, from the console.
    #[arg(long, value_name = "HEX")]
    pub fingerprint: String,
    /// The one-time code, from the console. Asked for where it is left out.
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// The disk's name, as the list has it. Without it: the list.
    #[arg(long, value_name = "DISK")]
    pub to: Option<String>,
    /// What the disk holds may be lost.
    #[arg(long, requires = "to")]
    pub erase: bool,
}

/// `hufu setup`.
#[derive(Debug, Args)]
pub struct Setup {
    /// The certificate's SHA-256 fingerprint, from the console.
    #[arg(long, value_name = "HEX")]
    pub fingerprint: String,
    /// The one-time code, from the console. Asked for where it is left out.
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// A signed extension of the image (`NAME.raw`) with an HSM maker's PKCS#11
    /// module; before the ceremony. The answer says what `[token] module` is.
    #[arg(long, value_name = "FILE", conflicts_with = "restore")]
    pub extension: Option<PathBuf>,
    /// Names of the people who watch the ceremony, two at least; the machine
    /// then takes the file of `--config` as its configuration.
    #[arg(long = "witness", value_name = "NAME")]
    pub witnesses: Vec<String>,
    /// The genesis file.
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// The consortium was founded without the keys of this machine's ceremony:
    /// it takes them in, or has, with `hufu org admit`.
    #[arg(long, requires = "genesis")]
    pub admitted: bool,
    /// The chain of the node's TLS certificate: certificate, then issuer (PEM).
    #[arg(long, value_name = "FILE")]
    pub chain: Option<PathBuf>,
    /// A request for the certificate of the first administrator (PEM), at the
    /// authority only, whose appliance then also certifies its own node. The
    /// certificate is written to administrator.pem.
    #[arg(long, value_name = "FILE", conflicts_with = "chain")]
    pub administrator: Option<PathBuf>,
    /// Restore this backup, instead of a ceremony; nothing is sent but shares
    /// until there are enough of them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["witnesses", "genesis", "chain", "administrator"])]
    pub restore: Option<PathBuf>,
    /// A file with a share of the backup that its operator has opened, or `-`
    /// for standard input; may be repeated.
    #[arg(long = "share", value_name = "FILE", requires = "restore")]
    pub shares: Vec<PathBuf>,
    /// An operator's identity (what `age-keygen` wrote), which opens the share
    /// here; may be repeated.
    #[arg(long = "identity", value_name = "FILE", requires = "restore")]
    pub identities: Vec<PathBuf>,
    /// A configuration in place of the backup's, for a machine with other
    /// addresses; member and token stay.
    #[arg(long, value_name = "FILE", requires = "restore")]
    pub new_config: Option<PathBuf>,
    /// Where to write join.json, tls.csr and the transcript.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}
