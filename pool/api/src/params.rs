//! The parameters after the `?`, read strictly: one that is unknown, repeated or out of range is named and refused.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::Problem;

pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A list of pairs takes any text; nothing in it can be wrong at this point.
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
        Ok(Self(pairs.unwrap_or_default()))
    }
}

impl Params {
    /// Refuses all but these, each at most once.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        for (n, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let remedy = match known {
                    [] => "there are none here".to_owned(),
                    known => format!("known here: {}", known.join(", ")),
                };
                return Err(Problem::parameter(name, format!("{name:?} is not a parameter of this address"), remedy));
            }
            if self.0[..n].iter().any(|(other, _)| other == name) {
                return Err(Problem::parameter(name, format!("{name} is given twice"), "give it once"));
            }
        }
        Ok(self)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str, range: RangeInclusive<usize>, default: usize) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let remedy = format!("give a whole number from {} to {}", range.start(), range.end());
            Problem::parameter(name, format!("{name} is {text:?}"), remedy)
        })
    }

    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let chosen = choices.iter().find(|(choice, _)| *choice == text);
        chosen.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            Problem::parameter(name, format!("{name} is {text:?}"), format!("give one of {}", names.join(", ")))
        })
    }
}
