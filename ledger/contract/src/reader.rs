//! Reads TOML so that every problem is reported with its line, all at once.
//!
//! Values are taken out key by key; what is left over at the end is an unknown
//! key and a problem. A reader never stops at the first mistake: an accessor
//! that finds one reports it and returns `None`.

use std::cell::RefCell;
use std::ops::Range;

use hufu_proof::Name;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Problem;

/// Most keys and headers in a TOML file.
const MAX_KEYS: usize = 4096;

/// One file being read, with the problems found in it.
pub(crate) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::new(Vec::new()) }
    }

    /// Parses the text; syntax errors become problems.
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        // A bound on the number of keys bounds the tables the parser builds.
        if self.text.bytes().filter(|byte| *byte == b'=' || *byte == b'[').count() > MAX_KEYS {
            self.report(0, "", format!("more than {MAX_KEYS} keys"));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.report(at, "", error.message().to_owned());
        }
        if errors.is_empty() { Some(table) } else { None }
    }

    /// Reports a problem at a byte offset.
    pub(crate) fn report(&self, at: usize, thing: impl Into<String>, message: impl Into<String>) {
        let problem = Problem::new(self.file, line_of(self.text, at), thing, message);
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// The line of a byte offset, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> u32 {
    let before = &text.as_bytes()[..at.min(text.len())];
    let newlines = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(newlines + 1).unwrap_or(u32::MAX)
}

/// A value with its place in the document.
#[derive(Clone, Copy)]
pub(crate) struct Node<'d, 'a> {
    document: &'d Document<'a>,
    path: &'d str,
    key: &'d str,
    at: usize,
    value: &'d DeValue<'a>,
    span: (usize, usize),
}

/// A table with its place in the document.
pub(crate) struct Section<'d, 'a> {
    pub(crate) document: &'d Document<'a>,
    pub(crate) path: String,
    pub(crate) at: usize,
    table: &'d DeTable<'a>,
    taken: RefCell<Vec<&'d str>>,
}

impl<'d, 'a> Section<'d, 'a> {
    pub(crate) fn root(document: &'d Document<'a>, table: &'d Spanned<DeTable<'a>>) -> Self {
        Self {
            document,
            path: String::new(),
            at: 0,
            table: table.get_ref(),
            taken: RefCell::default(),
        }
    }

    /// The value of `key`, if there.
    pub(crate) fn optional<'s>(&'s self, key: &'static str) -> Option<Node<'s, 'a>>
    where
        'd: 's,
    {
        let (name, value) = self.table.get_key_value(key)?;
        self.taken.borrow_mut().push(key);
        Some(self.node(name, value))
    }

    /// The value of `key`; its absence is a problem.
    pub(crate) fn required<'s>(&'s self, key: &'static str) -> Option<Node<'s, 'a>>
    where
        'd: 's,
    {
        let node = self.optional(key);
        if node.is_none() {
            self.problem(key, "is missing");
        }
        node
    }

    /// Every entry; names of keys are free.
    pub(crate) fn entries<'s>(&'s self) -> impl Iterator<Item = Node<'s, 'a>>
    where
        'd: 's,
    {
        self.table.iter().map(|(name, value)| self.node(name, value))
    }

    fn node<'s>(
        &'s self,
        name: &'s Spanned<std::borrow::Cow<'a, str>>,
        value: &'s Spanned<DeValue<'a>>,
    ) -> Node<'s, 'a> {
        let Range { start, end } = value.span();
        Node {
            document: self.document,
            path: &self.path,
            key: name.get_ref(),
            at: name.span().start,
            value: value.get_ref(),
            span: (start, end),
        }
    }

    /// Reports every key that nobody asked for. `hints` gives a better answer
    /// than "unknown" for some keys.
    pub(crate) fn finish(&self, hints: &[(&str, &str)]) {
        let taken = self.taken.borrow();
        for name in self.table.keys() {
            let key = name.get_ref().as_ref();
            if taken.contains(&key) {
                continue;
            }
            let message = match hints.iter().find(|(hinted, _)| *hinted == key) {
                Some((_, hint)) => (*hint).to_owned(),
                None => "unknown key; remove it or correct its name".to_owned(),
            };
            self.document.report(name.span().start, join(&self.path, key), message);
        }
    }

    /// The line where it begins.
    pub(crate) fn line(&self) -> u32 {
        line_of(self.document.text(), self.at)
    }

    /// Reports a problem with `key` of this table.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) {
        self.document.report(self.at, join(&self.path, key), message);
    }
}

impl<'d, 'a> Node<'d, 'a> {
    pub(crate) fn key(&self) -> &'d str {
        self.key
    }

    pub(crate) fn document(&self) -> &'d Document<'a> {
        self.document
    }

    pub(crate) fn path(&self) -> String {
        join(self.path, self.key)
    }

    /// Byte offset of its key in the file.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Reports a problem at this value.
    pub(crate) fn problem(&self, message: impl Into<String>) {
        self.document.report(self.at, self.path(), message);
    }

    /// Reports a problem at this value and returns `None`.
    pub(crate) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.problem(message);
        None
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        self.refuse(format!("is {}, not {wanted}", self.value.type_str()))
    }

    /// The key as a name.
    pub(crate) fn key_name(&self) -> Option<Name> {
        Name::new(self.key).map_err(|error| self.problem(error.to_string())).ok()
    }

    /// The key as a word: a name without `-`, so that it is the same in
    /// expressions, Cedar and SQL.
    pub(crate) fn key_word(&self) -> Option<Name> {
        let name = self.key_name()?;
        if let Err(message) = word(&name) {
            return self.refuse(message);
        }
        Some(name)
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(crate) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(crate) fn text(&self) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong("text in quotes"),
        }
    }

    /// The text, and where its first character is in the file when the literal
    /// has no escapes; else where the literal begins.
    pub(crate) fn text_at(&self) -> Option<(&'d str, usize)> {
        let text = self.text()?;
        let (start, end) = self.span;
        let raw = self.document.text().get(start..end).unwrap_or_default();
        Some((text, start + raw.find(text).unwrap_or(0)))
    }

    pub(crate) fn name(&self) -> Option<Name> {
        Name::new(self.text()?).map_err(|error| self.problem(error.to_string())).ok()
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong("true or false"),
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        let DeValue::Integer(number) = self.value else { return self.wrong("a whole number") };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(number),
            Err(_) => self.refuse("does not fit into 64 bits"),
        }
    }

    /// A whole number from 0 to `max`.
    pub(crate) fn bounded(&self, min: u32, max: u32) -> Option<u32> {
        let number = self.integer()?;
        match u32::try_from(number) {
            Ok(number) if number >= min && number <= max => Some(number),
            _ => self.refuse(format!("is {number}; {min} to {max} are accepted")),
        }
    }

    pub(crate) fn table(&self) -> Option<Section<'d, 'a>> {
        match self.value {
            DeValue::Table(table) => Some(Section {
                document: self.document,
                path: self.path(),
                at: self.at,
                table,
                taken: RefCell::default(),
            }),
            _ => self.wrong("a table"),
        }
    }

    /// The items of an array.
    pub(crate) fn items<'s>(&'s self) -> Option<Vec<Node<'s, 'a>>> {
        let DeValue::Array(items) = self.value else { return self.wrong("a list") };
        let node = |item: &'s Spanned<DeValue<'a>>| {
            let Range { start, end } = item.span();
            Node {
                document: self.document,
                path: self.path,
                key: self.key,
                at: start,
                value: item.get_ref(),
                span: (start, end),
            }
        };
        Some(items.iter().map(node).collect())
    }

    /// The items of an array of names.
    pub(crate) fn names(&self) -> Option<Vec<Name>> {
        let items = self.items()?;
        let names: Vec<Name> = items.iter().filter_map(Node::name).collect();
        (names.len() == items.len()).then_some(names)
    }

    /// The value as JSON, so that one reader of values serves both. A float is
    /// passed on as the text it was written as.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match self.value {
            DeValue::String(text) => Json::String(text.to_string()),
            DeValue::Integer(_) => Json::from(self.integer()?),
            DeValue::Float(number) => Json::String(number.as_str().to_owned()),
            DeValue::Boolean(value) => Json::Bool(*value),
            DeValue::Datetime(time) => Json::String(time.to_string()),
            DeValue::Array(_) => {
                let items = self.items()?;
                let json: Vec<Json> = items.iter().filter_map(Node::json).collect();
                if json.len() != items.len() {
                    return None;
                }
                Json::Array(json)
            }
            DeValue::Table(_) => return self.wrong("a value"),
        })
    }
}

/// Whether a name is a word: letters, digits and `_` only, and no word that
/// Cedar, SQL or expressions keep for themselves.
pub(crate) fn word(name: &Name) -> Result<(), String> {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "if",
        "then",
        "else",
        "in",
        "is",
        "like",
        "has",
        "principal",
        "action",
        "resource",
        "context",
        "asset",
        "params",
        "row",
        "block",
        "self",
        "state",
        "rowid",
        "recorded_height",
        "recorded_time",
        "valid_from",
        "valid_to",
        "select",
        "from",
        "where",
        "group",
        "order",
        "by",
        "limit",
        "table",
        "index",
        "values",
        "set",
        "and",
        "or",
        "not",
        "null",
        "union",
        "join",
        "on",
        "as",
        "case",
        "when",
        "end",
        "exists",
        "between",
        "distinct",
        "having",
        "all",
        "create",
        "drop",
        "alter",
        "insert",
        "update",
        "delete",
        "default",
        "check",
        "primary",
        "references",
        "unique",
        "to",
        "with",
        "__cedar",
    ];
    if name.as_str().contains('-') {
        return Err(format!(
            "`{name}` is used in expressions, Cedar and SQL; write `_` instead of `-`"
        ));
    }
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("__") {
        return Err(format!("`{name}` is a word of SQL, Cedar or the expressions; choose another"));
    }
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
