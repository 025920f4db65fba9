//! `hufu org`: found a consortium, look at its members, change them.

use std::path::Path;

use anyhow::Context as _;
use hufu_configuration::config;
use hufu_configuration::files;
use hufu_configuration::join::{self, JoinRequest};
use hufu_proof::{Budget, Genesis, Jurisdictions, Name, Quotas, Standing};
use serde::Serialize;
use serde_json::json;

use crate::access::Access;
use crate::cli::{Org, OrgStanding};
use crate::command::node::{in_line, members, submitted};
use crate::output;

#[derive(Serialize)]
struct Shown<'a> {
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    genesis: &'a Genesis,
}

/// Runs `hufu org`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(command: Org, access: &Access, json: bool) -> anyhow::Result<()> {
    match command {
        Org::Found { consortium, approvals, created_ms, out, requests } => {
            let mut joins = Vec::new();
            for path in &requests {
                let bytes = files::read(path, join::MAX_JOIN as u64)?;
                joins.push(
                    JoinRequest::from_json(&bytes)
                        .with_context(|| format!("in {}", path.display()))?,
                );
            }
            let genesis = join::found(consortium, approvals, created_ms, &joins)?;
            files::write_new(&out, &genesis.to_json())?;
            show(json, &genesis, Some(&out))
        }
        Org::Show { genesis } => show(json, &config::read_genesis(&genesis)?, None),
        Org::Admit { request } => {
            let bytes = files::read(&request, join::MAX_JOIN as u64)?;
            let join = JoinRequest::from_json(&bytes)
                .with_context(|| format!("in {}", request.display()))?;
            let member = json!({ "member": join });
            submitted(json, &access.connect()?.post("/proposals", &member).await?)
        }
        Org::Change { member, jurisdictions, names, no_names } => {
            let seen = what_it_may_see(jurisdictions)?;
            let names = (no_names || !names.is_empty()).then_some(names);
            anyhow::ensure!(
                seen.is_some() || names.is_some(),
                "say what is to change: --jurisdiction, --name or --no-names"
            );
            let change = json!({ "member": member, "jurisdictions": seen, "names": names });
            let change = json!({ "change": change });
            submitted(json, &access.connect()?.post("/proposals", &change).await?)
        }
        Org::Budget { identity_bytes, member_bytes } => {
            let budget = json!({ "budget": Budget { identity_bytes, member_bytes } });
            submitted(json, &access.connect()?.post("/proposals", &budget).await?)
        }
        Org::Quotas(said) => {
            let quotas = json!({ "quotas": Quotas::from(said) });
            submitted(json, &access.connect()?.post("/proposals", &quotas).await?)
        }
        Org::Suspend(of) => standing(access, json, of, Standing::Suspended).await,
        Org::Dismiss(of) => standing(access, json, of, Standing::Dismissed).await,
        Org::Readmit(of) => standing(access, json, of, Standing::Good).await,
        Org::Constitution => {
            let shown: serde_json::Value = access.connect()?.get("/constitution").await?;
            output::print(json, &shown, members)
        }
        Org::Amend { approvals, algorithms, from } => {
            anyhow::ensure!(
                approvals.is_some() || !algorithms.is_empty(),
                "say what is to change: --approvals or --algorithm"
            );
            let algorithms = (!algorithms.is_empty()).then_some(algorithms);
            let amend = json!({ "approvals": approvals, "algorithms": algorithms, "from": from });
            let amend = json!({ "constitution": amend });
            submitted(json, &access.connect()?.post("/proposals", &amend).await?)
        }
        Org::Review { proposal } => {
            let path = format!("/proposals/{proposal}");
            let shown: serde_json::Value = access.connect()?.get(&path).await?;
            output::print(json, &shown, members)
        }
        Org::Approve { proposal } => {
            let path = format!("/proposals/{proposal}/approve");
            submitted(json, &access.connect()?.post(&path, &json!({})).await?)
        }
        Org::Members => {
            let members: serde_json::Value = access.connect()?.get("/members").await?;
            output::print(json, &members, |members| {
                let text = |row: &serde_json::Value, key: &str| {
                    row.get(key).map(in_line).unwrap_or_default()
                };
                let rows: Vec<Vec<String>> = members
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|row| {
                        ["name", "kinds", "standing", "validator", "identity"]
                            .map(|key| text(row, key))
                            .to_vec()
                    })
                    .collect();
                output::table(&["NAME", "KINDS", "STANDING", "VALIDATOR", "IDENTITY"], &rows)
            })
        }
    }
}

/// Proposes that a member stands otherwise.
async fn standing(
    access: &Access,
    json: bool,
    OrgStanding { member, reason }: OrgStanding,
    to: Standing,
) -> anyhow::Result<()> {
    let standing = json!({ "standing": { "member": member, "to": to, "reason": reason } });
    submitted(json, &access.connect()?.post("/proposals", &standing).await?)
}

/// What the options say of what a regulator may see; `None` where it stays.
fn what_it_may_see(said: Vec<Name>) -> anyhow::Result<Option<Jurisdictions>> {
    let word = |word: &str| said.iter().any(|one| one.as_str() == word);
    let alone = said.len() == 1;
    Ok(match (word("whole"), word("none")) {
        _ if said.is_empty() => None,
        (true, _) if alone => Some(Jurisdictions::Whole),
        (_, true) if alone => Some(Jurisdictions::None),
        (false, false) => Some(Jurisdictions::Only(said.into_iter().collect())),
        _ => {
            anyhow::bail!("--jurisdiction: give `whole` or `none` alone, or names of jurisdictions")
        }
    })
}

/// What a regulator sees, after what it is.
fn seen(jurisdictions: &Jurisdictions) -> String {
    match jurisdictions {
        Jurisdictions::None => String::new(),
        Jurisdictions::Only(_) => format!(" of {jurisdictions}"),
        Jurisdictions::Whole => " of the whole consortium".to_owned(),
    }
}

fn show(json: bool, genesis: &Genesis, file: Option<&Path>) -> anyhow::Result<()> {
    let digest = genesis.digest();
    output::print(json, &Shown { digest: digest.to_string(), file, genesis }, |_| {
        let mut text = format!(
            "consortium {}, {} members, {} approvals for a change\n",
            genesis.consortium,
            genesis.members.len(),
            genesis.constitution.approvals
        );
        for member in &genesis.members {
            let kinds: Vec<&str> = member.kinds.iter().map(AsRef::as_ref).collect();
            text += &format!("  {}: {}", member.name, kinds.join(", "));
            text += &seen(&member.jurisdictions);
            let names: Vec<String> = member.names.iter().map(ToString::to_string).collect();
            if !names.is_empty() {
                text += &format!("; owns {}", names.join(", "));
            }
            text += "\n";
        }
        if let Some(file) = file {
            text += &format!("written to {}\n", file.display());
        }
        text += "\nEvery founder must read the same digest:\n  ";
        text + &join::spoken(&digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_regulator_may_see_is_said_in_one_way() {
        let said = |words: &[&str]| {
            what_it_may_see(words.iter().map(|word| Name::new(word).unwrap()).collect())
        };
        assert_eq!(said(&[]).unwrap(), None);
        assert_eq!(said(&["whole"]).unwrap(), Some(Jurisdictions::Whole));
        assert_eq!(said(&["none"]).unwrap(), Some(Jurisdictions::None));
        let names = ["north", "west"].map(|name| Name::new(name).unwrap()).into();
        assert_eq!(said(&["west", "north"]).unwrap(), Some(Jurisdictions::Only(names)));
        for wrong in [&["whole", "north"][..], &["none", "whole"], &["north", "none"]] {
            assert!(said(wrong).is_err(), "{wrong:?}");
        }
    }
}
