//! The list of living connections, quick to walk and to change.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::RwLock;

use crate::connection::Connection;

#[derive(Debug, Default)]
pub(crate) struct Connections {
    list: RwLock<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        let mut list = self.list.write();
        connection.slot.store(list.len(), Relaxed);
        list.push(Arc::clone(connection));
    }

    pub(crate) fn remove(&self, connection: &Arc<Connection>) {
        let mut list = self.list.write();
        // Slots change under the same lock that guards the list.
        let slot = connection.slot.load(Relaxed);
        if list.get(slot).is_some_and(|other| Arc::ptr_eq(other, connection)) {
            list.swap_remove(slot);
            if let Some(moved) = list.get(slot) {
                moved.slot.store(slot, Relaxed);
            }
        }
        if list.capacity() > 4 * list.len().max(64) {
            list.shrink_to_fit();
        }
    }

    /// All of them as of now, to be walked without holding anybody up.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.list.read().clone()
    }
}
