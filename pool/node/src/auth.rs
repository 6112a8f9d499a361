//! Who the pool says it is. Core writes a new cookie at every start, so a cookie is read late and read again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;

use crate::RpcError;

/// A cookie is about 75 bytes; a file larger than this is none.
const LONGEST_COOKIE: u64 = 4096;

/// How to log in to a node.
#[derive(Clone)]
pub enum Auth {
    /// Core's `.cookie` file.
    Cookie(PathBuf),
    UserPass {
        user: String,
        pass: String,
    },
    None,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(path) => f.debug_tuple("Cookie").field(path).finish(),
            Self::UserPass { user, .. } => {
                f.debug_struct("UserPass").field("user", user).field("pass", &"<redacted>").finish()
            }
            Self::None => f.write_str("None"),
        }
    }
}

/// The `Authorization` header, kept up to date.
pub(crate) struct Credentials {
    auth: Auth,
    cached: Mutex<Option<Cached>>,
    /// The cookie has been read at least once.
    was_there: AtomicBool,
}

#[derive(Clone)]
struct Cached {
    header: HeaderValue,
    /// Of the cookie file the header came from.
    stamp: Option<Stamp>,
}

/// Tells two versions of a file apart without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Credentials {
    /// `None` when user name and password cannot be sent at all.
    pub(crate) fn new(auth: Auth) -> Option<Self> {
        let cached = match &auth {
            Auth::UserPass { user, pass } => {
                let bad = |text: &str| text.chars().any(char::is_control);
                if user.contains(':') || bad(user) || bad(pass) {
                    return None;
                }
                Some(Cached { header: basic(&format!("{user}:{pass}")), stamp: None })
            }
            Auth::Cookie(_) | Auth::None => None,
        };
        Some(Self { auth, cached: Mutex::new(cached), was_there: AtomicBool::new(false) })
    }

    pub(crate) fn cookie_path(&self) -> Option<&Path> {
        match &self.auth {
            Auth::Cookie(path) => Some(path),
            Auth::UserPass { .. } | Auth::None => None,
        }
    }

    /// The header to send now; a cookie is read again when its file changed.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, RpcError> {
        let Auth::Cookie(path) = &self.auth else {
            return Ok(self.cached.lock().as_ref().map(|c| c.header.clone()));
        };
        let stamp = stamp(path).await.map_err(|source| self.cookie_error(path, source))?;
        if let Some(cached) = self.cached.lock().as_ref()
            && cached.stamp == Some(stamp)
        {
            return Ok(Some(cached.header.clone()));
        }
        let text = read(path).await.map_err(|source| self.cookie_error(path, source))?;
        let line = text.trim();
        if !line.contains(':') || line.chars().any(char::is_control) {
            return Err(RpcError::CookieMalformed { path: path.clone() });
        }
        let header = basic(line);
        self.was_there.store(true, Relaxed);
        *self.cached.lock() = Some(Cached { header: header.clone(), stamp: Some(stamp) });
        Ok(Some(header))
    }

    /// The header to send after `refused` was; `None` when there is no other.
    pub(crate) async fn after_refusal(&self, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>, RpcError> {
        if self.cookie_path().is_none() {
            return Ok(None);
        }
        // A file rewritten within the clock's resolution has the same stamp: read it whatever it says.
        *self.cached.lock() = None;
        Ok(self.header().await?.filter(|fresh| Some(fresh) != refused))
    }

    fn cookie_error(&self, path: &Path, source: io::Error) -> RpcError {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => RpcError::CookieMissing { path, was_there: self.was_there.load(Relaxed) },
            io::ErrorKind::InvalidData => RpcError::CookieMalformed { path },
            _ => RpcError::CookieUnreadable { path, source },
        }
    }
}

fn basic(user_pass: &str) -> HeaderValue {
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(user_pass)))
        .expect("base64 has no characters that a header may not have");
    header.set_sensitive(true);
    header
}

async fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = tokio::fs::metadata(path).await?;
    Ok(Stamp { modified: meta.modified().ok(), length: meta.len() })
}

async fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(LONGEST_COOKIE).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cookie_is_read_again_when_its_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        let credentials = Credentials::new(Auth::Cookie(path.clone())).unwrap();
        assert!(matches!(credentials.header().await, Err(RpcError::CookieMissing { was_there: false, .. })));
        std::fs::write(&path, "__cookie__:first\n").unwrap();
        assert_eq!(credentials.header().await.unwrap(), Some(basic("__cookie__:first")));
        std::fs::write(&path, "__cookie__:second\n").unwrap();
        assert_eq!(credentials.header().await.unwrap(), Some(basic("__cookie__:second")));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(credentials.header().await, Err(RpcError::CookieMissing { was_there: true, .. })));
    }

    #[tokio::test]
    async fn what_is_no_cookie_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        for bad in [&b""[..], b"no colon", b"\xff\xfe:binary", b"two:lines\nin it", &vec![b'x'; 100_000]] {
            std::fs::write(&path, bad).unwrap();
            let error = Credentials::new(Auth::Cookie(path.clone())).unwrap().header().await.unwrap_err();
            assert!(matches!(error, RpcError::CookieMalformed { .. }), "{error}");
        }
        let error = Credentials::new(Auth::Cookie(dir.path().into())).unwrap().header().await.unwrap_err();
        assert!(matches!(error, RpcError::CookieUnreadable { .. }), "a folder: {error}");
    }

    #[tokio::test]
    async fn a_refused_password_is_not_sent_again_and_a_refused_cookie_only_when_it_changed() {
        let fixed = Credentials::new(Auth::UserPass { user: "u".into(), pass: "p".into() }).unwrap();
        let header = fixed.header().await.unwrap();
        assert_eq!(header, Some(basic("u:p")));
        assert_eq!(fixed.after_refusal(header.as_ref()).await.unwrap(), None);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        std::fs::write(&path, "a:b").unwrap();
        let cookie = Credentials::new(Auth::Cookie(path.clone())).unwrap();
        let header = cookie.header().await.unwrap();
        assert_eq!(cookie.after_refusal(header.as_ref()).await.unwrap(), None);
        // Rewritten within the clock's resolution: nothing but the refusal tells.
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "a:c").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(cookie.header().await.unwrap(), header);
        assert_eq!(cookie.after_refusal(header.as_ref()).await.unwrap(), Some(basic("a:c")));
    }

    #[test]
    fn a_password_is_never_printed() {
        let auth = Auth::UserPass { user: "rpcuser".into(), pass: "hunter2".into() };
        let printed = format!("{auth:?}");
        assert!(printed.contains("rpcuser") && !printed.contains("hunter2"), "{printed}");
        assert!(basic("u:p").is_sensitive());
    }

    #[test]
    fn credentials_that_basic_authentication_cannot_carry_are_refused() {
        for (user, pass) in [("a:b", "c"), ("a\n", "b"), ("a", "b\0")] {
            assert!(Credentials::new(Auth::UserPass { user: user.into(), pass: pass.into() }).is_none(), "{user:?}");
        }
    }
}
