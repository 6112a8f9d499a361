//! A TOML file as a list of the schema's keys with values and places; whatever does not fit becomes a finding, all at once.

use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::finding::{Finding, Place};
use crate::handbook;
use crate::kind::shown;
use crate::schema::{self, Key, SECRETS};

/// More faults than this are not listed: nobody reads them, and a wrong file may hold thousands.
const MAX_FINDINGS: usize = 100;
const MAX_NODES: usize = 16;

/// One key that a file sets.
#[derive(Debug)]
pub(crate) struct Entry {
    pub key: &'static Key,
    /// Which `[[node]]`, for the keys of nodes.
    pub node: Option<usize>,
    /// `None` is an empty text for an optional key: explicitly not set.
    pub value: Option<Value>,
    pub place: Place,
}

/// A secret that a file sets, for all nodes or the one named.
pub(crate) struct SecretEntry {
    pub key: &'static Key,
    pub node: Option<String>,
    pub value: Option<Value>,
    pub place: Place,
}

/// What a file says, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Document {
    pub entries: Vec<Entry>,
    pub secrets: Vec<SecretEntry>,
    /// Where each `[[node]]` begins.
    pub nodes: Vec<Place>,
    pub errors: Vec<Finding>,
    /// Keys whose value could not be read: what depends on them is not judged.
    pub failed: Vec<&'static str>,
    /// It is not TOML: nothing of it was read.
    pub broken: bool,
}

/// Reads `config.toml`.
pub(crate) fn read_config(path: &Path, content: &[u8]) -> Document {
    Reader::run(path, content, Reader::config)
}

/// Reads `secrets.toml`.
pub(crate) fn read_secrets(path: &Path, content: &[u8]) -> Document {
    Reader::run(path, content, Reader::secrets)
}

struct Reader<'a> {
    path: &'a Path,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    text: &'a str,
    document: Document,
}

impl<'a> Reader<'a> {
    fn run(path: &'a Path, content: &'a [u8], read: fn(&mut Self, &DeTable<'_>)) -> Document {
        let (text, broken_at) = match std::str::from_utf8(content) {
            Ok(text) => (text, None),
            Err(err) => {
                let end = err.valid_up_to();
                (std::str::from_utf8(&content[..end]).unwrap_or_default(), Some(end))
            }
        };
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let mut reader = Reader { path, lines, text, document: Document::default() };
        if let Some(at) = broken_at {
            reader.error(at, "", "this is not UTF-8 text", "save the file as UTF-8");
            reader.document.broken = true;
            return reader.document;
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for err in errors {
            let at = err.span().map_or(0, |span| span.start);
            reader.error(at, "", format!("this is not TOML: {}", shown_message(err.message())), syntax_remedy());
        }
        // What was guessed after a syntax error is not judged: its findings would send the operator the wrong way.
        reader.document.broken = !reader.document.errors.is_empty();
        if !reader.document.broken {
            read(&mut reader, table.get_ref());
        }
        reader.document
    }

    fn place(&self, at: usize) -> Place {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines[line - 1];
        let column = self.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        Place::File { path: PathBuf::from(self.path), line, column }
    }

    fn error(&mut self, at: usize, key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        match self.document.errors.len() {
            0..MAX_FINDINGS => {
                let finding = Finding::new(self.place(at), key, problem, remedy);
                self.document.errors.push(finding);
            }
            MAX_FINDINGS => {
                let finding = Finding::new(self.place(at), "", "more faults follow", "correct those above first");
                self.document.errors.push(finding);
            }
            _ => {}
        }
    }

    fn config(&mut self, root: &DeTable<'_>) {
        for (name, content) in root {
            let at = name.span().start;
            let table: &str = name.get_ref();
            match content.get_ref() {
                DeValue::Table(keys) if table == "node" => self.node(at, keys),
                DeValue::Array(items) if table == "node" => {
                    // One too many, to be told so.
                    for item in items.iter().take(MAX_NODES + 1) {
                        match item.get_ref() {
                            DeValue::Table(keys) => self.node(item.span().start, keys),
                            _ => self.error(
                                item.span().start,
                                "node",
                                "this is no table",
                                "write [[node]] above each node's keys",
                            ),
                        }
                    }
                }
                DeValue::Table(keys) if schema::TABLES.iter().any(|(known, _)| *known == table) => {
                    self.table(table, keys, None);
                }
                _ if schema::TABLES.iter().any(|(known, _)| *known == table) => {
                    self.error(
                        at,
                        table,
                        "this is a table, not a value",
                        format!("write [{table}] and its keys below it"),
                    );
                }
                _ => self.unknown(at, table),
            }
        }
    }

    fn node(&mut self, at: usize, keys: &DeTable<'_>) {
        let index = self.document.nodes.len();
        if index == MAX_NODES {
            self.error(at, "node", format!("there are more than {MAX_NODES} nodes"), "keep those that are near");
        }
        let place = self.place(at);
        self.document.nodes.push(place);
        if index < MAX_NODES {
            self.table("node", keys, Some(index));
        }
    }

    fn table(&mut self, table: &str, keys: &DeTable<'_>, node: Option<usize>) {
        for (name, value) in keys {
            let path = format!("{table}.{}", name.get_ref());
            let Some(key) = schema::find(&path) else {
                self.unknown(name.span().start, &path);
                continue;
            };
            let at = value.span().start;
            if let Some(value) = self.value(key, &path, at, value.get_ref()) {
                let place = self.place(at);
                self.document.entries.push(Entry { key, node, value, place });
            }
        }
    }

    /// The value, if it fits; `Some(None)` is explicitly not set.
    #[allow(clippy::option_option)]
    fn value(&mut self, key: &'static Key, path: &str, at: usize, value: &DeValue<'_>) -> Option<Option<Value>> {
        if key.unset.is_some() && value.as_str() == Some("") {
            return Some(None);
        }
        match key.kind.read(value) {
            Ok(value) => Some(Some(value)),
            Err(fault) => {
                self.document.failed.push(key.path);
                self.error(at, path, fault.problem, fault.remedy);
                None
            }
        }
    }

    fn secrets(&mut self, root: &DeTable<'_>) {
        for (name, content) in root {
            match (name.get_ref().as_ref(), content.get_ref()) {
                ("node", DeValue::Table(nodes)) if nodes.len() > MAX_NODES => {
                    self.error(
                        name.span().start,
                        "node",
                        format!("there are more than {MAX_NODES} nodes"),
                        "remove the unused",
                    );
                }
                ("node", DeValue::Table(nodes)) => {
                    for (node, keys) in nodes {
                        match keys.get_ref() {
                            DeValue::Table(keys) => {
                                for (name, value) in keys {
                                    self.secret(Some(node.get_ref()), name, value);
                                }
                            }
                            _ => self.error(
                                node.span().start,
                                "node",
                                "this is a table of nodes",
                                "write [node.NAME] above the node's rpc_user and rpc_pass",
                            ),
                        }
                    }
                }
                _ => self.secret(None, name, content),
            }
        }
    }

    fn secret(
        &mut self,
        node: Option<&str>,
        name: &toml::Spanned<std::borrow::Cow<'_, str>>,
        value: &toml::Spanned<DeValue<'_>>,
    ) {
        let Some(key) = SECRETS.iter().find(|key| key.path == name.get_ref().as_ref()) else {
            return self.unknown_secret(name.span().start, name.get_ref());
        };
        let at = value.span().start;
        if let Some(value) = self.value(key, key.path, at, value.get_ref()) {
            let place = self.place(at);
            self.document.secrets.push(SecretEntry { key, node: node.map(str::to_owned), value, place });
        }
    }

    fn unknown(&mut self, at: usize, path: &str) {
        // Looking for the key that was meant costs time; nobody will read it.
        if self.document.errors.len() >= MAX_FINDINGS {
            return self.error(at, "", "", "");
        }
        let key = shown(path);
        if let Some(old) = handbook::find(path) {
            let (problem, remedy) = old.fate.explain(&key);
            self.error(at, key, problem, remedy);
        } else if let Some(secret) = path.rsplit('.').next().filter(|name| SECRETS.iter().any(|key| key.path == *name))
        {
            let remedy = format!("move it to secrets.toml: `{secret}` there, or in [node.NAME] for one node alone");
            self.error(at, key, "this is a secret, which does not stand in this file", remedy);
        } else if let Some(near) = nearest(path) {
            self.error(at, key, "there is no such key", format!("did you mean {near}?"));
        } else {
            self.error(at, key, "there is no such key", "remove it; all keys stand in docs/configuration.md");
        }
    }

    fn unknown_secret(&mut self, at: usize, name: &str) {
        if self.document.errors.len() >= MAX_FINDINGS {
            return self.error(at, "", "", "");
        }
        let key = shown(name);
        let near = |known: &&&str| name.len() <= 64 && strsim::damerau_levenshtein(known, name) <= 2;
        if let Some(old) = handbook::find(&format!("secrets.{name}")) {
            let (problem, remedy) = old.fate.explain(&key);
            self.error(at, key, problem, remedy);
        } else if schema::schema().iter().any(|known| known.table() == name || known.path == name) {
            self.error(at, key, "this is not a secret", "move it to config.toml");
        } else if let Some(near) = ["rpc_user", "rpc_pass"].iter().find(near) {
            self.error(at, key, "there is no such secret", format!("did you mean {near}?"));
        } else {
            self.error(
                at,
                key,
                "there is no such secret",
                "remove it; known are rpc_user, rpc_pass and [node.NAME] with them",
            );
        }
    }
}

/// The key or table that the operator most likely meant.
pub(crate) fn nearest(path: &str) -> Option<String> {
    // Comparing costs the product of the lengths, and nothing known is long.
    if path.len() > 64 {
        return None;
    }
    let name = path.rsplit_once('.').map_or(path, |(_, name)| name);
    let same_name = schema::schema().iter().filter(|key| path.contains('.') && key.name() == name).map(|key| key.path);
    let known = schema::schema().iter().map(|key| key.path).chain(schema::TABLES.iter().map(|(table, _)| *table));
    let worst = (path.len() / 4).clamp(1, 4);
    let by_spelling = known.map(|known| (strsim::damerau_levenshtein(known, path), known)).min();
    let by_spelling = by_spelling.filter(|(distance, _)| *distance <= worst).map(|(_, known)| known);
    let mut same_name = same_name.fuse();
    let alone = same_name.next().filter(|_| same_name.next().is_none());
    by_spelling.or(alone).or_else(|| bare_key(name).filter(|_| !path.contains('.'))).map(str::to_owned)
}

/// The key of this name when just one table has it: an operator may have left the table out.
fn bare_key(name: &str) -> Option<&'static str> {
    let mut known = schema::schema().iter().filter(|key| key.name() == name).map(|key| key.path);
    known.next().filter(|_| known.next().is_none())
}

/// The parser's own words, on one line.
fn shown_message(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn syntax_remedy() -> &'static str {
    "write key = value, with texts in quotes and tables in [brackets]"
}

/// Reads a value given as plain text for `key`, by the environment or a flag.
pub(crate) fn read_text(key: &'static Key, text: &str, place: Place) -> Result<Entry, Finding> {
    let node = (key.table() == "node").then_some(0);
    if key.unset.is_some() && text.trim().is_empty() {
        return Ok(Entry { key, node, value: None, place });
    }
    match key.kind.read_text(text) {
        Ok(value) => Ok(Entry { key, node, value: Some(value), place }),
        Err(fault) => Err(Finding::new(place, key.path, fault.problem, fault.remedy)),
    }
}
