//! The table of what a root has that a folder of a work tree cannot: devices, empty folders, modes and owners.
//!
//! One entry a line: `path type mode uid gid [major minor]`, `#` begins a comment. Types are `d` (a folder, made when it is
//! missing), `f` (a file or link, which must be there), `c` (a character device), and `x` (taken out when it is there; no mode).

use crate::error::ImageError;

/// The table that every image begins with.
pub const BASE: &str = include_str!("base.table");

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From the root, without a slash in front.
    pub path: String,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Folder(Owner),
    File(Owner),
    Device { owner: Owner, major: u32, minor: u32 },
    Remove,
}

/// Whose something is, and its permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Reads a table.
pub fn parse(text: &str) -> Result<Vec<Rule>, ImageError> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if !fields.is_empty() {
            rules.push(rule(&fields).ok_or_else(|| ImageError::BadTable { line: number, text: line.into() })?);
        }
    }
    Ok(rules)
}

fn rule(fields: &[&str]) -> Option<Rule> {
    let (path, kind, rest) = (fields.first()?, *fields.get(1)?, &fields[2..]);
    let path = path.strip_prefix('/').filter(|path| crate::tree::is_plain_path(path))?.to_owned();
    let action = match (kind, rest) {
        ("x", []) => Action::Remove,
        ("d", [mode, uid, gid]) => Action::Folder(owner(mode, uid, gid, 0o1777)?),
        // Nothing in the image is setuid or setgid.
        ("f", [mode, uid, gid]) => Action::File(owner(mode, uid, gid, 0o777)?),
        ("c", [mode, uid, gid, major, minor]) => Action::Device {
            owner: owner(mode, uid, gid, 0o777)?,
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        _ => return None,
    };
    Some(Rule { path, action })
}

fn owner(mode: &str, uid: &str, gid: &str, allowed: u32) -> Option<Owner> {
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| mode & !allowed == 0)?;
    Some(Owner { mode, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_path_type_mode_and_owner() {
        let rules = parse("# comment\n\n/dev/null c 0666 0 0 1 3\n/tmp d 1777 0 0 # sticky\n/NOTE x\n").unwrap();
        let tmp = Owner { mode: 0o1777, uid: 0, gid: 0 };
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[1], Rule { path: "tmp".into(), action: Action::Folder(tmp) });
        assert_eq!(rules[2].action, Action::Remove);
        assert!(parse(BASE).is_ok());
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused_with_its_number() {
        for line in [
            "dev d 0755 0 0",
            "/dev/../etc d 0755 0 0",
            "/dev d 0855 0 0",
            "/dev d 0755 0",
            "/dev/null c 0666 0 0 1",
            "/bin/su f 4755 0 0",
            "/bin/wall f 2755 0 0",
            "/dev q 0755 0 0",
        ] {
            let refused = parse(&format!("/tmp d 1777 0 0\n{line}\n"));
            assert!(matches!(refused, Err(ImageError::BadTable { line: 2, .. })), "{line}: {refused:?}");
        }
    }
}
