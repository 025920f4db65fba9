//! `hufu backup`: made on an appliance, kept in a file here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use hufu_backup::{Head, Share, TokenPart, identities, open_share, read_head};
use hufu_configuration::files;
use hufu_configuration::time::utc;
use hufu_proof::UnixMillis;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::access::Access;
use crate::cli::{Backup, BackupCommand};
use crate::output;

/// Where an appliance's own process is asked, through its node.
const PATH: &str = "/machine/v1/backup";

/// Largest file with identities, in bytes.
const MAX_IDENTITIES: u64 = 64 * 1024;

/// Makes a backup.
///
/// # Errors
/// When the appliance does not answer or refuses, or the file cannot be written.
pub async fn run(arguments: Backup, access: &Access, json: bool) -> anyhow::Result<()> {
    let Backup { recipients, threshold, out, .. } = arguments;
    let out = out.context("--out: say where to write the backup")?;
    anyhow::ensure!(!out.exists(), "--out: {} is there; choose another name", out.display());
    for recipient in &recipients {
        hufu_backup::check_recipient(recipient)?;
    }
    let request = json!({ "recipients": recipients, "threshold": threshold });
    // Whole or not at all.
    let part = out.with_extension("part");
    let made = async {
        let what = || format!("cannot write {}", part.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .with_context(what)?;
        access.connect()?.download(PATH, &request, &mut file).await?;
        file.sync_all().with_context(what)?;
        let head = head(&part)?.1;
        fs::rename(&part, &out).with_context(what)?;
        anyhow::Ok(head)
    }
    .await;
    if made.is_err() {
        let _ = fs::remove_file(&part);
    }
    let head = made?;
    let mut shown = show(&head);
    if let Value::Object(members) = &mut shown {
        members.insert("file".to_owned(), json!(out));
    }
    output::print(json, &shown, |shown| format!("written: {}\n{}", out.display(), text(shown)))
}

/// Says what there is to say of a backup that exists.
///
/// # Errors
/// When the file is none, or the identity opens no share of it.
pub fn about(command: BackupCommand, json: bool) -> anyhow::Result<()> {
    match command {
        BackupCommand::Inspect { file } => {
            let (_, head) = head(&file)?;
            let mut shown = show(&head);
            if let Value::Object(members) = &mut shown {
                members.insert("operators".to_owned(), json!(head.operators));
            }
            output::print(json, &shown, |_| text(&show(&head)))
        }
        BackupCommand::OpenShare { file, identity, out } => {
            let (_, head) = head(&file)?;
            let share = share(&head, &identity)?;
            let line = Zeroizing::new(format!("{}\n", share.text()));
            match out {
                Some(out) => secret(&out, line.as_bytes()),
                None => output::lines(&line),
            }
        }
    }
}

/// Reads a backup's head: its lines, and what they say.
///
/// # Errors
/// When the file is no backup.
pub fn head(file: &Path) -> anyhow::Result<(Vec<u8>, Head)> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    read_head(&mut BufReader::new(opened)).with_context(|| format!("in {}", file.display()))
}

/// Opens the share of whoever has an identity of this file.
///
/// # Errors
/// When there is none.
pub fn share(head: &Head, identity: &Path) -> anyhow::Result<Share> {
    let bytes = Zeroizing::new(files::read(identity, MAX_IDENTITIES)?);
    let what = || format!("in {}", identity.display());
    let keys = identities(&bytes).with_context(what)?;
    open_share(head, &keys).with_context(what)
}

fn secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| io::Write::write_all(&mut file, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn show(head: &Head) -> Value {
    let recipients: Vec<&str> = head.operators.iter().map(|one| one.recipient.as_str()).collect();
    let mut shown = json!({
        "id": head.id,
        "member": head.member,
        "genesis": head.genesis,
        "created_ms": head.created_ms,
        "software": head.software,
        "threshold": head.threshold,
        "recipients": recipients,
        "token": head.token,
    });
    if head.token == TokenPart::NotExportable
        && let Value::Object(members) = &mut shown
    {
        let note = "the token cannot be exported; back it up by its maker's means, or have the \
                    member's keys replaced by governance after a restore";
        members.insert("note".to_owned(), json!(note));
    }
    shown
}

fn text(shown: &Value) -> String {
    let field = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
    let recipients = shown["recipients"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = vec![
        format!("member:    {}", field("member")),
        format!("made:      {}", utc(UnixMillis(shown["created_ms"].as_u64().unwrap_or_default()))),
        format!("software:  {}", field("software")),
        format!("genesis:   {}", field("genesis")),
        format!("token:     {}", field("token")),
        format!("opened by: {} of {}", shown["threshold"], recipients.len()),
    ];
    lines.extend(recipients.iter().filter_map(Value::as_str).map(|one| format!("  {one}")));
    if let Some(note) = shown["note"].as_str() {
        lines.push(format!("note:      {note}"));
    }
    lines.join("\n")
}
