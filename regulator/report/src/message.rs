//! The message catalogue: whatever a person reads in a report, in English and
//! Chinese, in one table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A language of reports.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

impl Language {
    /// The code in titles and requests.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The HTML `lang` (RFC 5646).
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-Hans",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "en" => Ok(Self::En),
            "zh" => Ok(Self::Zh),
            other => Err(format!("the language is `en` or `zh`, not `{other}`")),
        }
    }
}

/// The text called `key`; an unknown key shows as itself, which the test of
/// the template finds.
pub fn message(language: Language, key: &str) -> &str {
    MESSAGES.binary_search_by_key(&key, |entry| entry.0).map_or(key, |index| match language {
        Language::En => MESSAGES[index].1,
        Language::Zh => MESSAGES[index].2,
    })
}

/// Key, English, Chinese; in the order of keys.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("all", "the whole consortium", "整个联盟"),
    ("anchor", "Anchor", "锚定区块"),
    ("anchor-digest", "Digest of the anchor header", "锚定区块头摘要"),
    ("anchor-height", "Height of the anchor header", "锚定区块高度"),
    ("as-of", "As of", "截止状态"),
    ("block-time", "block time", "出块时间"),
    ("clause", "Clause", "条款"),
    ("consortium", "Consortium", "联盟"),
    ("control", "Control", "控制项"),
    ("control-set", "Control set", "控制集"),
    ("controls-run", "controls run", "已执行控制项"),
    ("count", "Number", "数量"),
    ("critical", "critical", "严重"),
    ("evidence", "Evidence", "证据"),
    (
        "evidence-explained",
        "Every entry is one transaction in the shared log. Its inclusion path to the anchor's log \
         root is in the machine-readable part of this file.",
        "每一条目是共享日志中的一笔交易，其到锚定区块日志根的包含路径见本文件的机器可读部分。",
    ),
    ("finding", "finding", "项发现"),
    ("findings", "findings", "项发现"),
    ("genesis", "Genesis digest", "创世文件摘要"),
    ("height", "height", "高度"),
    ("high", "high", "高"),
    ("info", "info", "提示"),
    ("jurisdiction", "Jurisdiction", "管辖范围"),
    ("log-index", "Log entry", "日志条目"),
    ("log-root", "Log root", "日志根"),
    ("low", "low", "低"),
    ("medium", "medium", "中"),
    ("more", "of", "共"),
    ("no-findings", "No findings.", "未发现问题。"),
    ("outcome", "Outcome", "结果"),
    ("packages", "Contract packages", "合约包"),
    ("parameters", "Parameters", "参数"),
    ("result-digest", "Result digest", "结果摘要"),
    ("severity", "Severity", "严重程度"),
    ("state-root", "State root", "状态根"),
    ("subject", "Subject", "对象"),
    ("summary", "Summary", "摘要"),
    ("title", "Supervision report", "监管报告"),
    ("transaction", "Transaction", "交易"),
    (
        "verify",
        "To check this file offline, also years from now: hufu verify --genesis GENESIS FILE. It \
         checks the signature at the end of the file, the votes of a quorum of members on the \
         anchor, and the inclusion of all evidence. Any other member computes the same report \
         from its own copy of the ledger.",
        "离线核验（多年以后同样有效）：hufu verify --genesis GENESIS FILE。该命令核验文件末尾的\
         签名、法定多数成员对锚定区块的投票以及全部证据的包含关系。任何其他成员都可以用自己的\
         账本副本计算出相同的报告。",
    ),
    ("verify-title", "How to check this report", "如何核验本报告"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_complete() {
        assert!(MESSAGES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (key, english, chinese) in MESSAGES {
            assert!(!english.is_empty() && !chinese.is_empty(), "{key}");
            assert!(chinese.chars().any(|one| one > '\u{2e7f}'), "{key} is not Chinese");
        }
        assert_eq!(message(Language::Zh, "evidence"), "证据");
    }
}
