//! Tells a story as it is played, for somebody who reads along.

use std::io::Write;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::file::{Language, Look, Report, Said, Step, Story};
use super::report::Shown;
use crate::consortium::Consortium;

/// Columns of a line.
const WIDTH: usize = 96;
/// What is under a step is indented so far.
const INDENT: usize = 4;

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// `CONTRACT/NAME`.
    pub act: String,
    /// The asset, or the device whose rows they are.
    pub asset: String,
    /// The outcome's code.
    pub outcome: String,
    /// The block it is in.
    pub height: Option<u64>,
}

/// What somebody looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The asset's key in this play.
    pub key: String,
}

/// Writes a story down.
pub struct Teller<'w> {
    out: &'w mut dyn Write,
    language: Language,
}

impl<'w> Teller<'w> {
    /// Writes to `out`.
    pub fn new(out: &'w mut dyn Write, language: Language) -> Self {
        Self { out, language }
    }

    fn said<'a>(&self, said: &'a Said) -> &'a str {
        said.in_language(self.language)
    }

    fn pick<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        match self.language {
            Language::En => en,
            Language::Zh => zh,
        }
    }

    /// A paragraph, broken into lines; those after the first are indented.
    fn paragraph(&mut self, first: &str, indent: usize, text: &str) -> std::io::Result<()> {
        for (number, line) in lines(text, WIDTH - indent).iter().enumerate() {
            let margin = if number == 0 { first } else { "" };
            let blank = " ".repeat(indent - margin.width().min(indent));
            writeln!(self.out, "{margin}{blank}{line}")?;
        }
        Ok(())
    }

    /// The title, what the story shows, and who takes part.
    pub(super) fn begin(&mut self, story: &Story) -> std::io::Result<()> {
        let title = self.said(&story.title);
        writeln!(self.out, "\n{title}\n{}\n", "=".repeat(title.width().min(WIDTH)))?;
        self.paragraph("", 0, self.said(&story.text))?;
        let heading = self.pick("Who takes part:", "参与方：");
        writeln!(self.out, "\n{heading}")?;
        let titles: Vec<(&str, String)> = story
            .cast
            .iter()
            .map(|part| (self.said(&part.title), self.of_member(&part.member)))
            .chain(story.device.iter().map(|machine| {
                let of = story.part(&machine.of).map_or("", |part| self.said(&part.title));
                let who = match self.language {
                    Language::En => format!("a device with a key of its own, certified for {of}"),
                    Language::Zh => format!("设备，自有密钥，由{of}担保发证"),
                };
                (self.said(&machine.title), who)
            }))
            .collect();
        let widest = titles.iter().map(|(title, _)| title.width()).max().unwrap_or_default();
        for (title, who) in titles {
            let gap = " ".repeat(widest - title.width());
            self.paragraph(&format!("  {title}{gap}"), widest + 4, &who)?;
        }
        Ok(())
    }

    fn of_member(&self, member: &str) -> String {
        match self.language {
            Language::En => format!("member {member}"),
            Language::Zh => format!("成员 {member}"),
        }
    }

    /// What happened beforehand.
    pub(super) fn before(&mut self, story: &Story) -> std::io::Result<()> {
        let said: Vec<&str> =
            story.before.iter().filter_map(|step| Some(self.said(step.say.as_ref()?))).collect();
        if !said.is_empty() {
            let heading = self.pick("Beforehand:", "此前：").to_owned();
            writeln!(self.out, "\n{heading}")?;
            for one in said {
                self.paragraph("  -", INDENT, one)?;
            }
        }
        writeln!(self.out)
    }

    /// A step and its outcome.
    pub(super) fn step(
        &mut self,
        story: &Story,
        number: usize,
        step: &Step,
        done: Option<&Done>,
    ) -> std::io::Result<()> {
        if let Some(say) = &step.say {
            self.paragraph(&format!("{number:2}."), INDENT, self.said(say))?;
        }
        let Some(done) = done else { return Ok(()) };
        let by = step.by.as_deref().unwrap_or_default();
        let signer = story.title_of(by).map_or("", |title| self.said(title)).to_owned();
        let what = format!("{} {}", done.act, done.asset);
        let line = match (self.language, &step.refused, done.height) {
            (Language::En, None, Some(height)) => {
                format!("{what}; signed by {signer}: accepted in block {height}")
            }
            (Language::Zh, None, Some(height)) => {
                format!("{what}，由{signer}签名：已记入区块 {height}")
            }
            (Language::En, ..) => {
                format!("{what}; signed by {signer}: REFUSED, {}", self.why(&done.outcome))
            }
            (Language::Zh, ..) => {
                format!("{what}，由{signer}签名：被拒绝，{}", self.why(&done.outcome))
            }
        };
        self.paragraph("", INDENT, &line)?;
        if step.wrong {
            let here = self.pick("<- this is what goes wrong", "← 问题就在这里").to_owned();
            self.paragraph("", INDENT, &here)?;
        }
        Ok(())
    }

    /// Why something was refused.
    fn why(&self, outcome: &str) -> String {
        let known: Option<hufu_proof::Outcome> =
            serde_json::from_value(serde_json::Value::String(outcome.to_owned())).ok();
        match (self.language, known) {
            (Language::En, Some(known)) => format!("{outcome}: {}", known.meaning()),
            _ => outcome.to_owned(),
        }
    }

    /// Who sees an asset, and who does not.
    pub(super) fn look(&mut self, story: &Story, look: &Look, seen: &Seen) -> std::io::Result<()> {
        let names = |ids: &[String]| {
            let titles: Vec<&str> =
                ids.iter().filter_map(|id| Some(self.said(&story.part(id)?.title))).collect();
            titles.join(self.pick(", ", "、"))
        };
        let (by, not) = (names(&look.by), names(&look.not));
        let key = &seen.key;
        let mut line = match (self.language, by.is_empty(), not.is_empty()) {
            (Language::En, false, true) => format!("{key} is seen by {by}"),
            (Language::En, true, _) => format!("{key} is not shown to {not}"),
            (Language::En, false, false) => format!("{key} is seen by {by}; not shown to {not}"),
            (Language::Zh, false, true) => format!("{by}可以查看 {key}"),
            (Language::Zh, true, _) => format!("{key} 对{not}不可见"),
            (Language::Zh, false, false) => format!("{by}可以查看 {key}；对{not}不可见"),
        };
        if let Some(say) = &look.say {
            line += self.pick(": ", "：");
            line += self.said(say);
        }
        self.paragraph("   ·", INDENT + 2, &line)
    }

    /// What a report shows.
    pub(super) fn report(&mut self, report: &Report, shown: &Shown) -> std::io::Result<()> {
        let heading = match self.language {
            Language::En => format!(
                "What the regulator's report {} shows of it, as of block {}:",
                report.set, shown.height
            ),
            Language::Zh => format!("监管报告 {}（截至区块 {}）显示：", report.set, shown.height),
        };
        writeln!(self.out)?;
        self.paragraph("", 0, &heading)?;
        for (finding, found) in report.finding.iter().zip(&shown.found) {
            let title = found.title.get(self.pick("en", "zh")).cloned().unwrap_or_default();
            let subjects = found.subjects.join(self.pick(", ", "、"));
            let count = found.subjects.len();
            let line = match self.language {
                Language::En => format!("{title}: {count} ({}): {subjects}", found.severity),
                Language::Zh => {
                    let severity = match found.severity.as_str() {
                        "critical" => "严重",
                        "high" => "高",
                        "medium" => "中",
                        "low" => "低",
                        _ => "提示",
                    };
                    format!("{title}：{count} 项（{severity}）：{subjects}")
                }
            };
            self.paragraph("  *", INDENT, &line)?;
            self.paragraph("", INDENT, self.said(&finding.say))?;
        }
        Ok(())
    }

    /// Where the reports are and how to verify them.
    pub(super) fn end(
        &mut self,
        consortium: &Consortium,
        reports: &[Shown],
    ) -> std::io::Result<()> {
        let hufu = consortium.settings.hufu.display();
        let genesis = consortium.genesis_path();
        for shown in reports {
            let read = match self.language {
                Language::En => shown.html.display(),
                Language::Zh => shown.chinese.display(),
            };
            // Paths are not broken: they are to be pasted.
            let heading = self.pick("To read it:", "阅读报告：");
            writeln!(self.out, "\n{heading}\n  {read}")?;
            let how = self.pick(
                "To verify it, offline, with nothing but the genesis file:",
                "仅凭创世文件即可离线验证：",
            );
            let json = shown.json.display();
            writeln!(self.out, "{how}\n  {hufu} verify --genesis {} {json}", genesis.display())?;
        }
        writeln!(self.out)
    }
}

/// Lines of at most `width` columns: broken at blanks, or between two wide
/// characters, where Chinese is broken, but not before its punctuation.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        let fits = line.width() + word.trim_end().width() <= width;
        if !fits && !line.is_empty() {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line += word;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// What is not broken: words with the blanks behind them, wide characters with the
/// punctuation behind them.
fn words(text: &str) -> Vec<&str> {
    let wide = |c: char| c.width() == Some(2);
    let clings = |c: char| "，。；：！？、）》”’".contains(c);
    let mut words = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    for (place, c) in text.char_indices() {
        let breaks = match before {
            None => false,
            // A number keeps its sign.
            Some(' ') => !" %".contains(c),
            Some(before) => {
                (wide(before) || wide(c)) && !clings(c) && c != ' ' && !"（《“‘".contains(before)
            }
        };
        if breaks {
            words.push(&text[start..place]);
            start = place;
        }
        before = Some(c);
    }
    words.push(&text[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_between_chinese_characters() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("incomprehensibilities", 8), ["incomprehensibilities"]);
        // Four columns for two characters; the stop stays with the last of them.
        assert_eq!(lines("虎符虎符。", 6), ["虎符虎", "符。"]);
        assert_eq!(lines("虎符虎。", 6), ["虎符", "虎。"]);
        assert_eq!(lines("M1.x3 号（甲）", 8), ["M1.x3 号", "（甲）"]);
        assert_eq!(lines("it is 99 % of it", 9), ["it is", "99 % of", "it"]);
        assert_eq!(lines("", 8), [""]);
    }
}
