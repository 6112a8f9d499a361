//! What can go wrong for a caller of the ledger. Mining never depends on any of these.

/// Why the ledger could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It is kept in memory, readers see it, and writing is tried again with every commit.
    #[error("not on disk yet, kept in memory and tried again: {0}")]
    NotDurable(String),
    #[error("the ledger cannot be read: {0}")]
    Unreadable(String),
    #[error("{what} is {is} bytes long; at most {most} are kept")]
    TooLong { what: &'static str, is: usize, most: usize },
    #[error("the ledger is closed")]
    Closed,
}
