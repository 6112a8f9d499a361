//! The data folder: one pool at a time, nobody else's to read.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Holds the data folder for this process.
#[derive(Debug)]
pub struct Home {
    _lock: Option<File>,
}

/// Makes the folder where it is missing (0700) and takes it. Where it cannot be written the pool runs on without it; where
/// another pool has it, that is an error.
pub fn take(dir: &Path) -> anyhow::Result<Home> {
    if let Err(why) = make(dir) {
        tracing::error!("the data folder {} cannot be made: {why}; nothing will outlive a restart", dir.display());
        return Ok(Home { _lock: None });
    }
    let file = match File::create(dir.join("lock")) {
        Ok(file) => file,
        Err(why) => {
            tracing::error!(
                "the data folder {} cannot be written: {why}; nothing will outlive a restart",
                dir.display()
            );
            return Ok(Home { _lock: None });
        }
    };
    match file.try_lock() {
        Ok(()) => Ok(Home { _lock: Some(file) }),
        Err(TryLockError::WouldBlock) => {
            bail!("another pool is running on the data folder {}; stop it, or set server.data_dir", dir.display())
        }
        Err(TryLockError::Error(why)) => Err(why).context("the data folder cannot be locked"),
    }
}

fn make(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
