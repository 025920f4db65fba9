//! The message catalogue: whatever a person reads in a report, in English and
//! Chinese, in one table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::Title;

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

/// Every text of the catalogue by its key.
pub(crate) fn messages(language: Language) -> BTreeMap<&'static str, &'static str> {
    MESSAGES.iter().map(|(key, _, _)| (*key, message(language, key))).collect()
}

/// The title in `language`, else in English, else in any, else `otherwise`.
pub fn title<'a>(title: &'a Title, language: Language, otherwise: &'a str) -> &'a str {
    title
        .get(language.code())
        .or_else(|| title.get("en"))
        .or_else(|| title.values().next())
        .map_or(otherwise, String::as_str)
}

/// What a stable code of the ledger, such as `accepted`, is called.
pub(crate) fn outcome(language: Language, code: &str) -> &str {
    let chinese = match code {
        "accepted" => "已接受",
        "unknown-signer" => "签名者未知",
        "inactive-signer" => "签名者已失效",
        "signature" => "签名无效",
        "sequence" => "序号不符",
        "policy" => "策略不允许",
        "invariant" => "违反约束",
        "duplicate" => "重复",
        "expired" => "已过期",
        other => other,
    };
    if language == Language::Zh { chinese } else { code }
}

/// Key, English, Chinese; in the order of keys.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("all", "the whole consortium", "整个联盟"),
    ("anchor", "What it is anchored in", "锚定区块"),
    ("anchor-digest", "Digest of the anchor header", "锚定区块头摘要"),
    ("anchor-height", "Block of the anchor", "锚定区块高度"),
    ("as-of", "As of", "截至"),
    ("by-how-much", "Value and limit", "数值与限值"),
    ("by-owner", "Findings by owner and severity", "按责任方与严重程度统计"),
    ("clause", "Clause", "条款"),
    ("col-block", "Block", "区块"),
    ("col-period", "Recorded", "记录时间"),
    ("consortium", "Consortium", "联盟"),
    ("control", "Control", "控制项"),
    ("control-file", "the findings of the control of that name.", "同名控制项的发现明细。"),
    ("control-set", "Control set", "控制集"),
    ("controls", "Controls", "控制项"),
    ("critical", "critical", "严重"),
    ("csv-evidence", "Evidence (log entries)", "证据（日志条目）"),
    ("csv-evidence-total", "Evidence in all", "证据总数"),
    ("csv-new", "New", "新增"),
    ("csv-new-no", "no", "否"),
    ("csv-new-yes", "yes", "是"),
    ("csv-unit", "Unit", "单位"),
    (
        "digests",
        "Digests, for comparison with another member's copy",
        "摘要（用于与其他成员的副本比对）",
    ),
    ("evidence", "Evidence", "证据"),
    (
        "evidence-explained",
        "Each entry is one signed transaction in the shared log, in a block that a quorum of members finalized. The command hufu ledger receipt TRANSACTION gives its receipt, which verifies offline. The inclusion paths are in the data at the end of this file.",
        "每一条目是共享日志中的一笔签名交易，所在区块经法定多数成员最终确认。执行命令 hufu ledger receipt TRANSACTION 可取得其回执并离线核验。包含路径见本文件末尾的数据。",
    ),
    ("evidence-file", "the transactions that the findings refer to.", "各项发现所引用的交易。"),
    ("finding-one", "finding", "项发现"),
    ("findings", "Findings", "发现"),
    ("findings-many", "findings", "项发现"),
    ("genesis", "Genesis digest", "创世文件摘要"),
    ("gone", "no longer found", "已消除"),
    ("height", "height", "高度"),
    ("high", "high", "高"),
    ("how-often", "How often", "次数"),
    ("how-verified", "How to check this report", "如何核验本报告"),
    ("info", "info", "提示"),
    ("jurisdiction", "Jurisdiction", "管辖范围"),
    ("kicker", "Supervision report", "监管报告"),
    ("limit-high", "upper limit", "上限"),
    ("limit-low", "lower limit", "下限"),
    ("list", ", ", "、"),
    ("log-index", "Log entry", "日志条目"),
    ("log-root", "Log root", "日志根"),
    ("looked-at", "What was looked at", "核查范围"),
    ("low", "low", "低"),
    ("medium", "medium", "中"),
    ("new", "new", "新增"),
    (
        "no-earlier",
        "There is no earlier run of this control set with these parameters on the ledger.",
        "账本上没有以相同参数执行本控制集的前次核查。",
    ),
    ("no-findings", "Nothing was found.", "未发现问题。"),
    ("other-owners", "other owners", "其他责任方"),
    ("outcome", "Outcome", "结果"),
    ("owner", "Owner", "责任方"),
    ("packages", "Contract packages", "合约包"),
    ("parameters", "Parameters", "参数"),
    (
        "proof-file",
        "the report as data, its signature and proofs, for the program below.",
        "报告数据、签名及证明，供下述程序核验。",
    ),
    ("result-digest", "Result digest", "结果摘要"),
    ("rows", "Records", "记录数"),
    ("scope-table", "Kind of record", "记录类型"),
    ("severity", "Severity", "严重程度"),
    ("signature", "Signature", "签名"),
    ("signed-by", "Signed by", "签署方"),
    ("since", "Since", "起始时间"),
    ("since-until", "First seen, last seen", "首次与末次时间"),
    ("state-root", "State root", "状态根"),
    ("sum", "Sum", "合计"),
    ("summary-file", "one line for each control.", "每个控制项一行的汇总表。"),
    (
        "times-in-tables",
        "Times in tables are to the second; proof/report.json has the thousandths.",
        "表中时间精确到秒；毫秒见 proof/report.json。",
    ),
    ("title", "Title", "名称"),
    ("transaction", "Transaction", "交易"),
    ("unowned", "without an owner", "无责任方"),
    (
        "verify-command",
        "hufu verify --genesis genesis.json FILE",
        "hufu verify --genesis genesis.json 文件名",
    ),
    (
        "verify-command-zip",
        "hufu verify --genesis genesis.json FILE.zip",
        "hufu verify --genesis genesis.json 文件名.zip",
    ),
    (
        "verify-explained",
        "The program says yes or no and why, without a network, also years from now. It checks the signature, the votes of a quorum of members on the anchor, the inclusion of all evidence, and that this page shows exactly its data. Every other member computes the same report from its own copy of the ledger.",
        "该程序无须联网即可给出核验结论及理由，多年以后同样有效。它核验签名、法定多数成员对锚定区块的投票、全部证据的包含关系，并确认本页所示与其数据完全一致。其他任何成员均可用自己的账本副本计算出相同的报告。",
    ),
    ("what", "What", "内容"),
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
