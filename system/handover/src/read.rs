//! The first call: what does the owner ask for? Nothing is written.

use crate::volume::{Disk, Found, Volume, VolumeError};
use crate::{EXAMPLE_FILE, Fault, MAX_FILE, Outcome, RESET_FILE, SETTINGS_FILE, TimeZone, parse};

/// Windows hides endings and adds its own.
pub(crate) const SETTINGS_NAMES: [&str; 3] = [SETTINGS_FILE, "warppool.toml.txt", "warppool.txt"];
pub(crate) const RESET_NAMES: [&str; 3] = [RESET_FILE, "reset.txt.txt", "reset"];

/// Reads the partition. `zone_exists` says whether the device knows a time zone.
pub fn read(disk: &mut impl Disk, zone_exists: &dyn Fn(&TimeZone) -> bool) -> Outcome {
    let mut volume = match Volume::open(disk) {
        Ok(volume) => volume,
        Err(why) => return Outcome::Unreadable(why.to_string()),
    };
    let factory_reset = matches!(volume.find(&RESET_NAMES), Ok(Some(_)) | Err(VolumeError::Twice(..)));
    let outcome = match volume.find(&SETTINGS_NAMES) {
        Ok(Some(file)) => settings(&mut volume, &file, factory_reset, zone_exists),
        Ok(None) => Ok(without_settings(&mut volume, factory_reset)),
        Err(why) => Err(why),
    };
    match outcome {
        Ok(outcome) => outcome,
        Err(why @ (VolumeError::TooLarge { .. } | VolumeError::Twice(..))) => {
            Outcome::Faulty { faults: vec![about_the_file(why.to_string())], factory_reset }
        }
        Err(why) => Outcome::Unreadable(why.to_string()),
    }
}

fn settings<D: Disk>(
    volume: &mut Volume<'_, D>,
    file: &Found,
    factory_reset: bool,
    zone_exists: &dyn Fn(&TimeZone) -> bool,
) -> Result<Outcome, VolumeError> {
    let content = volume.read(file, MAX_FILE)?;
    // Our own mark: no editor's file begins with a zero byte.
    if content.first() == Some(&0) {
        return Ok(if factory_reset { Outcome::Asked { settings: None, factory_reset } } else { Outcome::Remains });
    }
    Ok(match parse(&content, zone_exists) {
        Ok(settings) => Outcome::Asked { settings: Some(Box::new(settings)), factory_reset },
        Err(faults) => Outcome::Faulty { faults, factory_reset },
    })
}

/// No settings file. An example that somebody filled in and did not rename would be passed over in silence: it is told.
fn without_settings<D: Disk>(volume: &mut Volume<'_, D>, factory_reset: bool) -> Outcome {
    let example = volume.find(&[EXAMPLE_FILE]).ok().flatten();
    let content = example.and_then(|file| volume.read(&file, MAX_FILE).ok());
    if let Some(content) = content
        && parse(&content, &|_| true).map_or(true, |settings| settings.asks_for_something())
    {
        let problem = format!("{EXAMPLE_FILE} was filled in, but only {SETTINGS_FILE} is read");
        let fault = Fault { remedy: format!("rename it to {SETTINGS_FILE}"), ..about_the_file(problem) };
        return Outcome::Faulty { faults: vec![fault], factory_reset };
    }
    if factory_reset { Outcome::Asked { settings: None, factory_reset } } else { Outcome::Nothing }
}

fn about_the_file(problem: String) -> Fault {
    Fault { line: None, key: String::new(), problem, remedy: "correct that, then start the device again".to_owned() }
}
