//! TOML with places, and typed values out of it; whatever does not fit becomes a fault.

use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, SECTIONS};
use crate::text::{has_smart_quotes, line_at};
use crate::{Fault, MAX_FAULTS};

/// The most values of a list.
const MAX_LIST: usize = 16;

pub(super) struct Reader<'a> {
    text: &'a str,
    pub faults: Vec<Fault>,
}

/// One `[section]` of the file.
pub(super) struct Section<'t, 'd> {
    pub name: &'static str,
    /// Where it begins, for faults about what is missing.
    pub at: usize,
    pub table: &'t DeTable<'d>,
}

/// A value with its place.
pub(super) struct At<T> {
    pub value: T,
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, faults: Vec::new() }
    }

    /// The whole file as TOML.
    pub fn document(&self) -> Result<DeTable<'a>, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Ok(table.into_inner());
        }
        let fault = |error: &toml::de::Error| self.syntax(error.span().map_or(0, |span| span.start), error.message());
        Err(errors.iter().take(MAX_FAULTS).map(fault).collect())
    }

    /// What is told of a line that is no TOML: the usual slips by their names.
    fn syntax(&self, at: usize, message: &str) -> Fault {
        let at = at.min(self.text.len());
        let line_number = line_at(self.text, at);
        let line = self.text.lines().nth(line_number as usize - 1).unwrap_or_default();
        let (problem, remedy) = if has_smart_quotes(line) {
            ("the quotation marks are typographic ones", "write straight ones: \" before and \" after the value")
        } else if line.contains('"') && line.contains('\\') {
            ("a backslash between quotation marks has a meaning of its own", "write ' instead of \" around the value")
        } else if line.contains('=') && !line.contains(['"', '\'']) {
            ("this line cannot be read", "texts stand between quotation marks, as in hostname = \"warppool\"")
        } else {
            let problem = format!("this line cannot be read ({})", message.lines().next().unwrap_or_default());
            let remedy = "write key = \"value\", or put # before the line to leave it out";
            return Fault { line: Some(line_number), key: String::new(), problem, remedy: remedy.to_owned() };
        };
        Fault { line: Some(line_number), key: String::new(), problem: problem.to_owned(), remedy: remedy.to_owned() }
    }

    pub fn fault(&mut self, at: usize, key: &str, problem: impl Display, remedy: impl Into<String>) {
        // What a file holds may be in the message: it is shown on terminals and pages.
        let clean =
            |text: String| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(400).collect();
        self.faults.push(Fault {
            line: Some(line_at(self.text, at)),
            key: clean(key.to_owned()),
            problem: clean(problem.to_string()),
            remedy: clean(remedy.into()),
        });
    }

    /// A fault of a key that is known, whose remedy is how it is written.
    fn fault_of(&mut self, at: usize, section: &str, name: &str, problem: impl Display) {
        let example = keys::find(section, name).map_or("", |key| key.example);
        self.fault(at, &format!("{section}.{name}"), problem, format!("write it as in: {example}"));
    }

    /// All tables of a section: `[name]`, or `[[name]]` for `node`. Keys that do not belong there are faults.
    pub fn sections<'t, 'd>(&mut self, root: &'t DeTable<'d>) -> Vec<Section<'t, 'd>> {
        let mut found = Vec::new();
        for (name, content) in root {
            let at = name.span().start;
            let Some(section) = SECTIONS.into_iter().find(|section| *section == name.get_ref().as_ref()) else {
                self.stray(at, name.get_ref(), content);
                continue;
            };
            match content.get_ref() {
                DeValue::Table(table) => found.push(Section { name: section, at, table }),
                DeValue::Array(items) if section == "node" && items.len() <= MAX_LIST => {
                    for item in items {
                        match item.get_ref() {
                            DeValue::Table(table) => {
                                found.push(Section { name: section, at: item.span().start, table });
                            }
                            _ => self.fault(at, section, "this is no table", "write [[node]] above each node's keys"),
                        }
                    }
                }
                DeValue::Array(_) if section == "node" => {
                    self.fault(at, section, "these are too many nodes", format!("leave at most {MAX_LIST}"));
                }
                _ => self.fault(at, section, "this is a section", format!("write [{section}] and its keys below")),
            }
        }
        for section in &found {
            for (name, _) in section.table {
                if keys::find(section.name, name.get_ref()).is_none() {
                    self.unknown(name.span().start, section.name, name.get_ref());
                }
            }
        }
        found
    }

    /// Something outside the sections.
    fn stray(&mut self, at: usize, name: &str, content: &Spanned<DeValue<'_>>) {
        let table = matches!(content.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        match (keys::home(name), keys::nearest(name, SECTIONS.into_iter())) {
            (Some(section), _) if !table => {
                self.fault(at, name, "this stands in no section", format!("write it below a line with [{section}]"));
            }
            (_, Some(near)) => self.fault(at, name, "there is no such section", format!("is [{near}] meant?")),
            _ => {
                let all = SECTIONS.map(|section| format!("[{section}]")).join(", ");
                self.fault(at, name, "there is no such section or key", format!("the sections are {all}"));
            }
        }
    }

    fn unknown(&mut self, at: usize, section: &str, name: &str) {
        let names = keys::KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
        let remedy = match (keys::nearest(name, names.clone()), keys::home(name)) {
            (Some(near), _) => format!("is {near} meant?"),
            (None, Some(home)) => format!("it belongs below [{home}]"),
            (None, None) => format!("the keys here are {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.fault(at, &format!("{section}.{name}"), "there is no such key", remedy);
    }

    /// A text, as a type that checks it.
    pub fn value<T, E: Display>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        check: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let (_, content) = entry(section, name)?;
        let at = content.span().start;
        match content.get_ref() {
            DeValue::String(text) => match check(text.trim()) {
                Ok(value) => Some(At { value, at }),
                Err(why) => {
                    self.fault_of(at, section.name, name, why);
                    None
                }
            },
            other => {
                self.fault_of(at, section.name, name, format!("this is {}, not a text", kind(other)));
                None
            }
        }
    }

    /// As [`Reader::value`] with every character as it stands: blanks belong to names and passwords.
    pub fn exact<T, E: Display>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        check: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let (_, content) = entry(section, name)?;
        if let DeValue::String(text) = content.get_ref() {
            let at = content.span().start;
            return match check(text) {
                Ok(value) => Some(At { value, at }),
                Err(why) => {
                    self.fault_of(at, section.name, name, why);
                    None
                }
            };
        }
        self.value(section, name, check)
    }

    /// A list of texts; a single text is a list of one. `None` when the key is not there.
    pub fn list<T, E: Display>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        check: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let (_, content) = entry(section, name)?;
        let DeValue::Array(items) = content.get_ref() else {
            return self.value(section, name, check).map(|one| vec![one.value]);
        };
        if items.len() > MAX_LIST {
            self.fault_of(content.span().start, section.name, name, format!("at most {MAX_LIST} are taken"));
        }
        let mut values = Vec::new();
        for item in items.iter().take(MAX_LIST) {
            let at = item.span().start;
            match item.get_ref() {
                DeValue::String(text) => match check(text.trim()) {
                    Ok(value) => values.push(value),
                    Err(why) => self.fault_of(at, section.name, name, why),
                },
                other => self.fault_of(at, section.name, name, format!("this is {}, not a text", kind(other))),
            }
        }
        Some(values)
    }

    pub fn flag(&mut self, section: &Section<'_, '_>, name: &str) -> bool {
        let Some((_, content)) = entry(section, name) else { return false };
        match content.get_ref() {
            DeValue::Boolean(value) => *value,
            other => {
                let problem = format!("this is {}, neither true nor false", kind(other));
                self.fault_of(content.span().start, section.name, name, problem);
                false
            }
        }
    }
}

fn entry<'t, 'd>(section: &Section<'t, 'd>, name: &str) -> Option<(&'t str, &'t Spanned<DeValue<'d>>)> {
    let found = section.table.iter().find(|(key, _)| key.get_ref().as_ref() == name);
    found.map(|(key, value)| (key.get_ref().as_ref(), value))
}

/// Whether the file sets a key, rightly or not.
pub(super) fn has(section: &Section<'_, '_>, name: &str) -> bool {
    entry(section, name).is_some()
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
