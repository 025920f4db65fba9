//! `hufu archive`: makes partitions of what is old at the node, and works with them
//! without one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use http::Method;
use hufu_archive::{DECLARATION, Folder, MANIFEST, Manifest, Partition, Verified};
use hufu_client::Client;
use hufu_configuration::time::utc;
use hufu_configuration::{Config, bundle, config, files, sentence};
use hufu_proof::{Digest, Genesis, Height, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Archive;
use crate::command::{node, verify};
use crate::output::{self, no};

/// `hufu archive`.
///
/// # Errors
/// When the node does not answer or refuses, and when a partition does not hold.
pub async fn run(command: Archive, access: &Access, json: bool) -> anyhow::Result<()> {
    match command {
        Archive::Create { to } => create(to, access, json).await,
        Archive::List => list(access, json).await,
        Archive::Verify { partition, genesis, node } => {
            let access = node.then_some(access);
            check(&partition, &genesis, access, json).await
        }
        Archive::Receipt { partition, transaction, genesis, out } => {
            receipt(&partition, &transaction, &genesis, &out, json)
        }
        Archive::Fetch { first, into } => fetch(first, &into, access, json).await,
        Archive::Restore { partition } => restore(&partition, access, json),
    }
}

/// A partition, as the node tells of it.
#[derive(Deserialize, Serialize)]
struct Made {
    first: Height,
    last: Height,
    manifest: Digest,
}

#[derive(Deserialize)]
struct Step {
    made: Option<Made>,
    up_to: Height,
    more: bool,
}

async fn create(to: Option<u64>, access: &Access, json: bool) -> anyhow::Result<()> {
    let client = access.connect()?;
    let mut made = Vec::new();
    let up_to = loop {
        let step: Step = client.post("/archives", &json!({ "to": to })).await?;
        let (up_to, done) = (step.up_to, step.made.is_none() || !step.more);
        if let Some(one) = step.made {
            if !json {
                output::note(&format!("heights {} to {} are archived", one.first, one.last));
            }
            made.push(one);
        }
        if done {
            break up_to;
        }
    };
    output::print(json, &json!({ "made": made, "up_to": up_to }), |_| match &made[..] {
        [] => format!("nothing new to archive: everything up to height {up_to} is"),
        some => {
            let rows: Vec<Vec<String>> = some
                .iter()
                .map(|one| {
                    vec![one.first.to_string(), one.last.to_string(), one.manifest.to_string()]
                })
                .collect();
            let table = output::table(&["FIRST", "LAST", "MANIFEST, AS DECLARED"], &rows);
            format!("{table}\neverything up to height {up_to} is archived")
        }
    })
}

/// A partition in the node's folder.
#[derive(Deserialize, Serialize)]
struct Listed {
    first: Height,
    last: Height,
    member: Name,
    manifest: Digest,
    bytes: u64,
    declared: bool,
    path: PathBuf,
}

async fn listed(client: &Client) -> anyhow::Result<(Vec<Listed>, Height)> {
    #[derive(Deserialize)]
    struct Answer {
        partitions: Vec<Listed>,
        up_to: Height,
    }
    let Answer { partitions, up_to } = client.get("/archives").await?;
    Ok((partitions, up_to))
}

async fn list(access: &Access, json: bool) -> anyhow::Result<()> {
    let (partitions, up_to) = listed(&access.connect()?).await?;
    output::print(json, &json!({ "partitions": partitions, "up_to": up_to }), |_| {
        let row = |one: &Listed| {
            vec![
                one.first.to_string(),
                one.last.to_string(),
                one.member.to_string(),
                node::bytes(one.bytes),
                if one.declared { "yes" } else { "no" }.to_owned(),
                one.path.display().to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = partitions.iter().map(row).collect();
        let head = ["FIRST", "LAST", "MEMBER", "SIZE", "DECLARED", "FOLDER"];
        format!("{}\neverything up to height {up_to} is archived", output::table(&head, &rows))
    })
}

/// Verifies a partition; what is wrong with it as an answer that is no.
fn verified(directory: &Path, genesis: &Genesis) -> anyhow::Result<(Partition, Verified)> {
    let read = Partition::open(directory).and_then(|partition| {
        let verified = partition.verify(genesis)?;
        Ok((partition, verified))
    });
    read.map_err(|error| {
        no(format!("{}: does not verify: {}", directory.display(), sentence(&error.into())))
    })
}

async fn check(
    directory: &Path,
    genesis: &Path,
    access: Option<&Access>,
    json: bool,
) -> anyhow::Result<()> {
    let genesis = config::read_genesis(genesis)?;
    let (partition, verified) = verified(directory, &genesis)?;
    let manifest = partition.manifest();
    let asked = match access {
        Some(access) => Some(declared(&access.connect()?, &partition).await?),
        None => None,
    };
    let mut checked = said(&genesis, &partition, &verified);
    checked.extend(asked.clone());
    let tables: serde_json::Map<String, Value> =
        verified.tables.iter().map(|(name, rows)| (name.clone(), json!(rows))).collect();
    let shown = json!({
        "valid": true,
        "kind": "partition",
        "member": manifest.member,
        "first": manifest.first,
        "last": manifest.last,
        "manifest": partition.digest(),
        "transactions": verified.transactions,
        "tables": tables,
        "declared": asked.is_some() || verified.declared.is_some(),
        "checked": checked,
    });
    output::print(json, &shown, |_| {
        let mut text = "valid: partition\n".to_owned();
        for line in &checked {
            text += &format!("  ✓ {line}\n");
        }
        if asked.is_none() && verified.declared.is_none() {
            text += &format!(
                "  ! nothing here shows that {} declared it: ask a node with --node\n",
                manifest.member
            );
        }
        text
    })
}

/// What was checked, in words.
fn said(genesis: &Genesis, partition: &Partition, verified: &Verified) -> Vec<String> {
    let manifest = partition.manifest();
    let (from, to) = verified.times;
    let mut checked = vec![
        verify::founded(genesis),
        format!(
            "heights {} to {}, {} to {}, from the archive of {}",
            manifest.first,
            manifest.last,
            utc(from),
            utc(to),
            manifest.member
        ),
        format!(
            "{} transactions up to place {} of the log, whose root is in the final header of \
             block {}",
            verified.transactions, manifest.log_end, verified.anchor.height
        ),
    ];
    checked.extend(verified.tables.iter().map(|(name, rows)| match name.split_once('.') {
        Some(("stream", _)) => format!("{name}: {rows} rows, as they were signed"),
        _ => format!("{name}: {rows} rows, of accepted transactions"),
    }));
    if let Some(declared) = verified.declared {
        checked.push(format!(
            "{} declared manifest {} in block {}",
            manifest.member,
            partition.digest(),
            declared.height
        ));
    }
    checked
}

/// What the ledger has of a partition's member and first height, in words.
async fn declared(client: &Client, partition: &Partition) -> anyhow::Result<String> {
    let manifest = partition.manifest();
    let (member, first) = (&manifest.member, manifest.first);
    let all: Vec<Made> = client.get(&format!("/declared-archives/{member}")).await?;
    match all.into_iter().find(|one| one.first == first) {
        Some(one) if one.manifest == partition.digest() => {
            Ok(format!("the node says that it is the one that {member} declared"))
        }
        Some(one) => Err(no(format!(
            "{member} declared another partition from height {first} on, with manifest {}",
            one.manifest
        ))),
        None => Err(no(format!("{member} declared no partition from height {first} on"))),
    }
}

fn receipt(
    directory: &Path,
    transaction: &Digest,
    genesis: &Path,
    out: &Path,
    json: bool,
) -> anyhow::Result<()> {
    let genesis = config::read_genesis(genesis)?;
    let found = Partition::open(directory).and_then(|partition| partition.receipt(transaction));
    let receipt = found?.ok_or_else(|| {
        no(format!("{}: transaction {transaction} is not in the partition", directory.display()))
    })?;
    let mut checked = Vec::new();
    verify::check_receipt(&genesis, &receipt, &mut checked)
        .map_err(|error| no(format!("{}: {}", directory.display(), sentence(&error))))?;
    files::write(out, bundle::receipt(&receipt)?.as_bytes())?;
    output::print(json, &json!({ "file": out, "checked": checked }), |_| {
        format!("written to {}; verified:\n  {}", out.display(), checked.join("\n  "))
    })
}

async fn fetch(first: u64, into: &Path, access: &Access, json: bool) -> anyhow::Result<()> {
    let genesis = Config::load(&access.config)?.genesis()?;
    let client = access.connect()?;
    let (partitions, _) = listed(&client).await?;
    let one = partitions
        .into_iter()
        .find(|one| one.first.get() == first)
        .with_context(|| format!("the node has no partition that begins at height {first}"))?;
    let name = hufu_archive::name_of(one.first, one.last);
    let (place, partial) = (into.join(&name), into.join(format!(".fetching-{name}")));
    anyhow::ensure!(!place.exists(), "{} is there already", place.display());
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let path = |file: &str| format!("/archives/{first}/{file}");
    let bytes = client.send(Method::GET, &path(MANIFEST), &[], "").await?.success()?;
    let manifest = Manifest::parse(&bytes)?;
    // What an earlier run left of another one is of no use.
    let left = partial.join(MANIFEST);
    if left.exists() && fs::read(&left)? != bytes {
        files::remove_tree(&partial)?;
        fs::create_dir(&partial)?;
    }
    files::write(&left, &bytes)?;
    for (file, entry) in &manifest.files {
        let target = partial.join(file);
        resume(&client, &path(file), &target, entry.bytes, json).await?;
    }
    if one.declared {
        let receipt = client.send(Method::GET, &path(DECLARATION), &[], "").await?.success()?;
        files::write(&partial.join(DECLARATION), &receipt)?;
    }
    let (partition, verified) = match verified(&partial, &genesis) {
        Ok(sound) => sound,
        Err(error) => {
            // The next run is not to go on with it.
            files::remove_tree(&partial)?;
            return Err(error);
        }
    };
    fs::rename(&partial, &place).with_context(|| format!("cannot make {}", place.display()))?;
    let checked = said(&genesis, &partition, &verified);
    output::print(json, &json!({ "partition": place, "checked": checked }), |_| {
        format!("written to {}; verified:\n  {}", place.display(), checked.join("\n  "))
    })
}

/// Gets what is missing of a file of `size` bytes.
async fn resume(
    client: &Client,
    path: &str,
    target: &Path,
    size: u64,
    json: bool,
) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", target.display());
    let mut file = OpenOptions::new().create(true).append(true).open(target).with_context(what)?;
    let mut present = file.metadata().with_context(what)?.len();
    if present > size {
        file.set_len(0).with_context(what)?;
        present = 0;
    }
    if present > 0 && present < size && !json {
        output::note(&format!("{}: goes on after {}", target.display(), node::bytes(present)));
    }
    while present < size {
        let piece = client
            .send(Method::GET, &format!("{path}?from={present}"), &[], "")
            .await?
            .success()?;
        anyhow::ensure!(!piece.is_empty(), "{path}: the node has less than its manifest says");
        file.write_all(&piece).with_context(what)?;
        present += piece.len() as u64;
    }
    file.sync_all().with_context(what)
}

fn restore(directory: &Path, access: &Access, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        access.appliance.is_none(),
        "a partition is restored on the machine of the node, where its folder is"
    );
    let config = Config::load(&access.config)?;
    let archive = config
        .archive
        .as_ref()
        .context("this configuration has no archive: name a folder under `[archive] directory`")?;
    files::close_to_others();
    let folder = Folder::new(&archive.directory);
    let partition = folder.restore(directory, &config.genesis()?).map_err(|error| {
        no(format!("{}: not restored: {}", directory.display(), sentence(&error.into())))
    })?;
    let manifest = partition.manifest();
    let shown = json!({
        "partition": partition.directory(),
        "first": manifest.first,
        "last": manifest.last,
        "manifest": partition.digest(),
    });
    output::print(json, &shown, |_| {
        format!(
            "verified and restored to {}: the node has heights {} to {} again",
            partition.directory().display(),
            manifest.first,
            manifest.last
        )
    })
}
