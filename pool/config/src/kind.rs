//! What a key's value must look like. One place reads a value, wherever it comes from, and says what is wrong with it.

use std::borrow::Cow;

use toml::Value;
use toml::de::DeValue;

use crate::value::{ByteSize, Listen, Network, Percent};

/// The shape and limits of a key's value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    Bool,
    /// A whole number within limits (inclusive).
    Integer {
        min: i64,
        max: i64,
    },
    /// A number within limits (inclusive).
    Number {
        min: f64,
        max: f64,
    },
    /// A share difficulty: a number above zero, of any size.
    Difficulty,
    /// At most `max` bytes, no control characters.
    Text {
        max: usize,
    },
    /// One of `values`; `aliases` are other spellings of them.
    Choice {
        values: &'static [&'static str],
        aliases: &'static [(&'static str, &'static str)],
    },
    /// An exact decimal from 0 to 100.
    Percent,
    /// At most `max` printable ASCII bytes.
    Tag {
        max: usize,
    },
    /// A Bitcoin address; whether it fits the chain is checked once the chain is known.
    Address,
    Path,
    Listen,
    /// `http://` or `https://`.
    WebUrl,
    /// `http://host:port`, a node's RPC.
    RpcUrl,
    /// `tcp://host:port`.
    ZmqUrl,
    /// A list of addresses and ranges.
    Networks,
    /// A number of bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// Three capital letters.
    Currency,
    /// A text that is never shown.
    Secret,
}

/// What is wrong with a value, and the remedy.
pub(crate) struct Problem {
    pub problem: String,
    pub remedy: String,
}

/// A value before it is judged.
enum Raw<'a> {
    Bool(bool),
    /// A whole number's digits, in a radix.
    Integer(&'a str, u32),
    Float(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Raw<'a>>),
    Other(&'static str),
}

impl Raw<'_> {
    fn what(&self) -> String {
        match self {
            Self::Bool(v) => format!("the boolean {v}"),
            Self::Integer(v, _) | Self::Float(v) => format!("the number {}", shown(v)),
            Self::Text(v) => format!("the text `{}`", shown(v)),
            Self::List(_) => "a list".to_owned(),
            Self::Other(what) => format!("a {what}"),
        }
    }
}

/// A foreign text as it may stand in a message: short, without control characters.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 80;
    let mut out: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        out.push('…');
    }
    out
}

impl Kind {
    /// What stands in the reference's "type" column.
    pub fn describe(&self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::Integer { min, max } => format!("integer, {min} to {max}"),
            Self::Number { min, max } => format!("number, {min} to {max}"),
            Self::Difficulty => "number above 0".into(),
            Self::Text { max } => format!("text, at most {max} bytes"),
            Self::Choice { values, .. } => values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", "),
            Self::Percent => "percentage, at most 4 decimals".into(),
            Self::Tag { max } => format!("text, at most {max} printable ASCII bytes"),
            Self::Address => "Bitcoin address".into(),
            Self::Path => "path".into(),
            Self::Listen => "`host:port` or `:port`".into(),
            Self::WebUrl => "URL, http or https".into(),
            Self::RpcUrl => "URL, `http://host:port`".into(),
            Self::ZmqUrl => "`tcp://host:port`".into(),
            Self::Networks => "list of addresses and ranges".into(),
            Self::Size { min, max } => format!("size, {} to {}", ByteSize(*min), ByteSize(*max)),
            Self::Currency => "three capital letters".into(),
            Self::Secret => "secret text".into(),
        }
    }

    /// Reads a value of a file.
    pub(crate) fn read(&self, value: &DeValue<'_>) -> Result<Value, Problem> {
        self.accept(raw(value))
    }

    /// Reads a value given as plain text: by the environment or a flag. Lists are separated by commas.
    pub(crate) fn read_text(&self, text: &str) -> Result<Value, Problem> {
        let text = text.trim();
        let raw = match self {
            Self::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Raw::Bool(true),
                "false" | "0" | "no" | "off" => Raw::Bool(false),
                _ => Raw::Text(text.into()),
            },
            Self::Integer { .. } => Raw::Integer(text, 10),
            Self::Number { .. } | Self::Difficulty => Raw::Float(text),
            Self::Networks => Raw::List(
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| Raw::Text(t.into())).collect(),
            ),
            _ => Raw::Text(text.into()),
        };
        self.accept(raw)
    }

    fn accept(&self, raw: Raw<'_>) -> Result<Value, Problem> {
        match (self, raw) {
            (Self::Bool, Raw::Bool(value)) => Ok(Value::Boolean(value)),
            (Self::Integer { min, max }, Raw::Integer(digits, radix)) => match i64::from_str_radix(digits, radix) {
                Ok(value) if (*min..=*max).contains(&value) => Ok(Value::Integer(value)),
                Ok(_) => Err(self.refuse_with(format!("{digits} is out of its limits"))),
                Err(_) => Err(self.refuse_with(format!("`{}` is not a whole number", shown(digits)))),
            },
            (Self::Number { min, max }, Raw::Float(digits) | Raw::Integer(digits, 10)) => match digits.parse::<f64>() {
                Ok(value) if (*min..=*max).contains(&value) => Ok(Value::Float(value)),
                Ok(_) => Err(self.refuse_with(format!("{} is out of its limits", shown(digits)))),
                Err(_) => Err(self.refuse_with(format!("`{}` is not a number", shown(digits)))),
            },
            (Self::Difficulty, Raw::Float(digits) | Raw::Integer(digits, 10)) => match digits.parse::<f64>() {
                Ok(value) if value.is_finite() && value > 0.0 => Ok(Value::Float(value)),
                _ => Err(self.refuse_with(format!("`{}` is not a difficulty", shown(digits)))),
            },
            (Self::Percent, Raw::Float(text) | Raw::Integer(text, 10)) => self.parse_as::<Percent>(text),
            (Self::Networks, Raw::List(items)) => {
                let items = items.into_iter().map(|item| match item {
                    Raw::Text(text) => self.parse_as::<Network>(&text),
                    other => Err(self.refuse(&other)),
                });
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            (Self::Size { .. }, Raw::Integer(text, 10)) => self.accept_text(text),
            (kind, Raw::Text(text)) => kind.accept_text(&text),
            (kind, other) => Err(kind.refuse(&other)),
        }
    }

    fn accept_text(&self, text: &str) -> Result<Value, Problem> {
        let whole = |fault: Option<String>| match fault {
            None => Ok(Value::String(text.to_owned())),
            Some(fault) => Err(self.refuse_with(fault)),
        };
        match self {
            Self::Text { max } => whole(too_long(text, *max).or_else(|| control_character(text))),
            Self::Choice { values, aliases } => {
                let lower = text.to_ascii_lowercase();
                let named =
                    aliases.iter().find(|(alias, _)| *alias == lower).map_or(lower.as_str(), |(_, value)| value);
                if values.contains(&named) {
                    Ok(Value::String(named.to_owned()))
                } else {
                    Err(self.refuse_with(format!("`{}` is not one of the choices", shown(text))))
                }
            }
            Self::Percent => self.parse_as::<Percent>(text),
            Self::Tag { max } => {
                let odd = text.chars().find(|c| !matches!(c, ' '..='~'));
                whole(too_long(text, *max).or_else(|| odd.map(|c| format!("{c:?} is not printable ASCII"))))
            }
            Self::Address => {
                let odd = text.chars().any(|c| !c.is_ascii_alphanumeric());
                whole(odd.then(|| format!("`{}` is not a Bitcoin address", shown(text))))
            }
            Self::Path => {
                whole((text.is_empty()).then(|| "the path is empty".to_owned()).or_else(|| control_character(text)))
            }
            Self::Listen => self.parse_as::<Listen>(text),
            Self::WebUrl => whole(url_fault(text, &["http", "https"], false)),
            Self::RpcUrl => whole(url_fault(text, &["http"], true)),
            Self::ZmqUrl => whole(url_fault(text, &["tcp"], true)),
            Self::Size { min, max } => match text.parse::<ByteSize>() {
                Ok(ByteSize(bytes)) if (*min..=*max).contains(&bytes) => Ok(Value::String(ByteSize(bytes).to_string())),
                Ok(_) => Err(self.refuse_with(format!("{} is out of its limits", shown(text)))),
                Err(err) => Err(self.refuse_with(err.to_string())),
            },
            Self::Currency => {
                let ok = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
                whole((!ok).then(|| format!("`{}` is not a currency code", shown(text))))
            }
            Self::Secret => whole(
                too_long(text, 1024)
                    .or_else(|| text.chars().any(char::is_control).then(|| "it holds a control character".into())),
            ),
            Self::Bool | Self::Integer { .. } | Self::Number { .. } | Self::Difficulty | Self::Networks => {
                Err(self.refuse(&Raw::Text(text.into())))
            }
        }
    }

    /// Keeps the text as the type prints it, so that equal values compare equal.
    fn parse_as<T>(&self, text: &str) -> Result<Value, Problem>
    where
        T: std::str::FromStr<Err: std::fmt::Display> + std::fmt::Display,
    {
        match text.parse::<T>() {
            Ok(value) => Ok(Value::String(value.to_string())),
            Err(err) if text.len() <= 80 => Err(self.refuse_with(err.to_string())),
            Err(_) => Err(self.refuse_with(format!("`{}` cannot be read", shown(text)))),
        }
    }

    fn refuse(&self, raw: &Raw<'_>) -> Problem {
        let what = if *self == Self::Secret { "something else than a text".to_owned() } else { raw.what() };
        self.refuse_with(format!("{what} does not fit here"))
    }

    fn refuse_with(&self, problem: String) -> Problem {
        let remedy = match self {
            Self::Bool => "write true or false".to_owned(),
            Self::Integer { min, max } => format!("write a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("write a number from {min} to {max}"),
            Self::Difficulty => "write a number above 0, as in 0.001 or 4096".to_owned(),
            Self::Text { max } => format!("write a text in quotes, at most {max} bytes, on one line"),
            Self::Choice { values, .. } => {
                format!("write one of {}", values.iter().map(|v| format!("\"{v}\"")).collect::<Vec<_>>().join(", "))
            }
            Self::Percent => "write a decimal from 0 to 100 with at most four decimals, as in 1.5".to_owned(),
            Self::Tag { max } => {
                format!("write a text in quotes, at most {max} letters, digits, spaces or signs of ASCII")
            }
            Self::Address => "write an address of the chain the pool mines on, in quotes".to_owned(),
            Self::Path => "write a path in quotes".to_owned(),
            Self::Listen => "write \"host:port\", or \":port\" for every address of the machine".to_owned(),
            Self::WebUrl => "write a URL in quotes, as in \"https://pool.example.com\"".to_owned(),
            Self::RpcUrl => "write \"http://host:port\", as in \"http://127.0.0.1:8332\"".to_owned(),
            Self::ZmqUrl => "write \"tcp://host:port\", the same as zmqpubhashblock in bitcoin.conf".to_owned(),
            Self::Networks => "write a list in brackets, as in [\"192.168.1.2\", \"10.0.0.0/8\"]".to_owned(),
            Self::Size { min, max } => format!("write a size from {} to {}, in quotes", ByteSize(*min), ByteSize(*max)),
            Self::Currency => "write three capital letters, as in \"EUR\"".to_owned(),
            Self::Secret => "write a text in quotes, at most 1024 bytes, on one line".to_owned(),
        };
        Problem { problem, remedy }
    }
}

fn raw<'a>(value: &'a DeValue<'_>) -> Raw<'a> {
    match value {
        DeValue::String(text) => Raw::Text(Cow::Borrowed(text)),
        DeValue::Integer(v) => Raw::Integer(v.as_str(), v.radix()),
        DeValue::Float(v) => Raw::Float(v.as_str()),
        DeValue::Boolean(v) => Raw::Bool(*v),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Table(_) => Raw::Other("table"),
    }
}

fn too_long(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("{} bytes are too long", text.len()))
}

fn control_character(text: &str) -> Option<String> {
    text.chars().find(|c| c.is_control()).map(|c| format!("it holds the control character {c:?}"))
}

fn url_fault(text: &str, schemes: &[&str], port_owed: bool) -> Option<String> {
    let fault = || Some(format!("`{}` is not such a URL", shown(&without_userinfo(text))));
    let Ok(uri) = text.parse::<http::Uri>() else { return fault() };
    let scheme_fits = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
    if !scheme_fits || uri.host().is_none_or(str::is_empty) {
        return fault();
    }
    if port_owed && uri.port_u16().is_none() {
        return Some(format!("`{}` has no port", shown(&without_userinfo(text))));
    }
    None
}

/// A URL without `user:password@`, for messages and for use.
pub(crate) fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}
