//! Who this device is: a random id that is made once, and its name on the network.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::console::say;
use crate::durable;

/// 32 hexadecimal digits, as machine-id(5) wants them; kept with the data, so a factory reset makes another.
pub fn machine_id(data: &Path) -> String {
    let path = data.join("system/machine-id");
    if let Ok(bytes) = durable::read(&path, 64)
        && let Ok(text) = String::from_utf8(bytes)
        && is_id(text.trim_end())
    {
        return text.trim_end().to_owned();
    }
    let id = random_id().unwrap_or_else(|why| {
        say!("identity: the kernel gives no random bytes ({why}); this device cannot be told from others");
        "0".repeat(31) + "1"
    });
    if let Err(why) = durable::write(&path, format!("{id}\n").as_bytes(), 0o644) {
        say!("identity: cannot be kept: {why}");
    }
    id
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // The bits of a version 4 UUID, which some programs look for.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Tells the kernel our name.
pub fn set_hostname(name: &str) {
    if let Err(why) = nix::unistd::sethostname(name) {
        say!("identity: the name {name} is not taken: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once_and_again_when_it_is_damaged() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("system")).unwrap();
        let id = machine_id(data.path());
        assert!(is_id(&id), "{id}");
        assert_eq!(machine_id(data.path()), id);
        std::fs::write(data.path().join("system/machine-id"), "../../etc/passwd").unwrap();
        let other = machine_id(data.path());
        assert!(is_id(&other) && other != id);
    }
}
