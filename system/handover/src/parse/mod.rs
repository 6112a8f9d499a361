//! `warppool.toml` to a [`HandOver`], or all that is wrong with it. With one fault nothing is taken: a device that is
//! half set up is harder to understand than one that is not.

mod keys;
mod reader;
mod sections;

use sha2::{Digest, Sha256};

use crate::{Fault, HandOver, MAX_FAULTS, MAX_FILE, TimeZone, text};
use reader::Reader;

/// Reads the content of the file. `zone_exists` says whether the device knows a time zone. No bytes make it panic.
pub fn parse(content: &[u8], zone_exists: &dyn Fn(&TimeZone) -> bool) -> Result<HandOver, Vec<Fault>> {
    if content.len() > MAX_FILE {
        let problem = format!("the file has {} bytes, at most {MAX_FILE} are read", content.len());
        return Err(vec![Fault { line: None, key: String::new(), problem, remedy: "shorten it".to_owned() }]);
    }
    let text = text::decode(content).map_err(|fault| vec![fault])?;
    let mut reader = Reader::new(&text);
    let table = reader.document()?;
    let mut settings = sections::read(&mut reader, &table, zone_exists);
    settings.digest = Sha256::digest(content).into();
    let mut faults = reader.faults;
    if faults.is_empty() {
        return Ok(settings);
    }
    faults.sort_by_key(|fault| fault.line);
    if faults.len() > MAX_FAULTS {
        let more = faults.len() - MAX_FAULTS;
        faults.truncate(MAX_FAULTS);
        let problem = format!("there are {more} faults more");
        faults.push(Fault { line: None, key: String::new(), problem, remedy: "correct those above first".to_owned() });
    }
    Err(faults)
}

#[cfg(test)]
mod tests;
