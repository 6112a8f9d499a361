//! The root file system before it is packed: folders laid one over the other, the later one wins.
//!
//! Nothing of the machine it was gathered on comes along: no owner, no time, no umask, no order of files. A file is 0644, or
//! 0755 when its owner may run it; everything is root's unless a table says otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::owners::{Action, Owner, Rule};

/// One thing in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub owner: Owner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File(Content),
    Link(String),
    Device { major: u32, minor: u32 },
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    At(PathBuf),
    Here(Vec<u8>),
}

/// A root file system: paths without a slash in front, in the order of their bytes, so a folder comes before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// Lays a folder of this machine over what is there.
    pub fn overlay(&mut self, root: &Path) -> Result<(), ImageError> {
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(ImageError::io(&folder))? {
                let entry = entry.map_err(ImageError::io(&folder))?;
                let at = entry.path();
                let name = entry.file_name().into_string().map_err(|_| ImageError::BadName(at.clone()))?;
                let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                let kind = entry.file_type().map_err(ImageError::io(&at))?;
                if kind.is_dir() {
                    self.put(&path, Kind::Folder, 0o755)?;
                    folders.push((at, path));
                } else if kind.is_symlink() {
                    let target = fs::read_link(&at).map_err(ImageError::io(&at))?;
                    let target = target.into_os_string().into_string().map_err(|_| ImageError::BadName(at.clone()))?;
                    self.put(&path, Kind::Link(target), 0o777)?;
                } else if kind.is_file() {
                    let mode = fs::metadata(&at).map_err(ImageError::io(&at))?.permissions().mode();
                    let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
                    self.put(&path, Kind::File(Content::At(at)), mode)?;
                } else {
                    return Err(ImageError::Special(at));
                }
            }
        }
        Ok(())
    }

    /// Adds a file, or replaces one.
    pub fn file(&mut self, path: &str, mode: u32, content: Content) -> Result<(), ImageError> {
        self.put(path, Kind::File(content), mode)
    }

    /// Adds a symbolic link, or replaces one.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), ImageError> {
        self.put(path, Kind::Link(target.into()), 0o777)
    }

    /// Applies a table of owners, line by line.
    pub fn apply(&mut self, rules: &[Rule]) -> Result<(), ImageError> {
        for Rule { path, action } in rules {
            match action {
                Action::Folder(owner) => {
                    self.put(path, Kind::Folder, owner.mode)?;
                    self.own(path, *owner)?;
                }
                Action::File(owner) => self.own(path, *owner)?,
                Action::Device { owner, major, minor } => {
                    self.put(path, Kind::Device { major: *major, minor: *minor }, owner.mode)?;
                    self.own(path, *owner)?;
                }
                Action::Remove => {
                    let below = format!("{path}/");
                    self.0.retain(|other, _| other != path && !other.starts_with(&below));
                }
            }
        }
        Ok(())
    }

    fn own(&mut self, path: &str, owner: Owner) -> Result<(), ImageError> {
        self.0.get_mut(path).ok_or_else(|| ImageError::NothingToOwn(path.into()))?.owner = owner;
        Ok(())
    }

    /// Adds something and the folders above it.
    fn put(&mut self, path: &str, kind: Kind, mode: u32) -> Result<(), ImageError> {
        if !is_plain_path(path) {
            return Err(ImageError::BadName(path.into()));
        }
        if let Some((above, _)) = path.rsplit_once('/')
            && self.0.get(above).is_none_or(|node| node.kind != Kind::Folder)
        {
            self.put(above, Kind::Folder, 0o755)?;
        }
        let folder = kind == Kind::Folder;
        match self.0.get(path).map(|there| there.kind == Kind::Folder) {
            Some(true) if folder => return Ok(()),
            Some(there) if there != folder => return Err(ImageError::FolderAndFile(path.into())),
            _ => {}
        }
        self.0.insert(path.into(), Node { kind, owner: Owner { mode, uid: 0, gid: 0 } });
        Ok(())
    }
}

/// Whether a path names something below the root and nothing else: `etc/passwd`, not `/etc`, `a//b` or `a/../b`.
pub fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::owners;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let at = root.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        root
    }

    #[test]
    fn a_later_root_wins_and_keeps_what_it_does_not_have() {
        let base = folder(&[("etc/hosts", "base"), ("etc/group", "base")]);
        let over = folder(&[("etc/hosts", "over"), ("usr/bin/tool", "over")]);
        let mut tree = Tree::default();
        tree.overlay(base.path()).unwrap();
        tree.overlay(over.path()).unwrap();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["etc", "etc/group", "etc/hosts", "usr", "usr/bin", "usr/bin/tool"]);
        let hosts = Kind::File(Content::At(over.path().join("etc/hosts")));
        assert_eq!(tree.get("etc/hosts").unwrap().kind, hosts);
    }

    #[test]
    fn only_the_owners_right_to_run_a_file_comes_along() {
        let root = folder(&[("plain", ""), ("tool", ""), ("setuid", "")]);
        for (name, mode, kept) in [("plain", 0o600, 0o644), ("tool", 0o700, 0o755), ("setuid", 0o4755, 0o755)] {
            fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
            let mut tree = Tree::default();
            tree.overlay(root.path()).unwrap();
            assert_eq!(tree.get(name).unwrap().owner, Owner { mode: kept, uid: 0, gid: 0 }, "{name}");
        }
    }

    #[test]
    fn a_folder_is_never_replaced_by_a_file_or_the_other_way_round() {
        let base = folder(&[("lib/libc.so", "")]);
        let merged = folder(&[("usr/lib/libm.so", "")]);
        symlink("usr/lib", merged.path().join("lib")).unwrap();
        for (first, second) in [(&base, &merged), (&merged, &base)] {
            let mut tree = Tree::default();
            tree.overlay(first.path()).unwrap();
            let refused = tree.overlay(second.path());
            assert!(matches!(&refused, Err(ImageError::FolderAndFile(path)) if path == "lib"), "{refused:?}");
        }
    }

    #[test]
    fn the_table_adds_devices_folders_and_owners_and_takes_away() {
        let root = folder(&[("etc/secret", ""), ("NOTE", ""), ("cache/a/b", "")]);
        let mut tree = Tree::default();
        tree.overlay(root.path()).unwrap();
        let table =
            "/dev/null c 0666 0 0 1 3\n/tmp d 1777 0 0\n/etc/secret f 0640 0 100\n/NOTE x\n/cache x\n/absent x\n";
        tree.apply(&owners::parse(table).unwrap()).unwrap();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["dev", "dev/null", "etc", "etc/secret", "tmp"]);
        assert_eq!(tree.get("dev/null").unwrap().kind, Kind::Device { major: 1, minor: 3 });
        assert_eq!(tree.get("etc/secret").unwrap().owner, Owner { mode: 0o640, uid: 0, gid: 100 });
        assert_eq!(tree.get("tmp").unwrap().owner.mode, 0o1777);
        let refused = tree.apply(&owners::parse("/etc/shadow f 0600 0 0").unwrap());
        assert!(matches!(refused, Err(ImageError::NothingToOwn(path)) if path == "etc/shadow"));
    }

    #[test]
    fn sockets_and_pipes_are_refused() {
        let root = folder(&[]);
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        assert!(matches!(Tree::default().overlay(root.path()), Err(ImageError::Special(_))));
    }
}
