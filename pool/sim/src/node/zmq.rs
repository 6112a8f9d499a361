//! The node's ZMQ publisher: `hashblock` and `rawblock` in Core's three frames (topic, body, counter).
//! It can lose messages, and close and come back on the same port.

use std::fmt;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqError, ZmqMessage};

use super::options::StartError;

enum Command {
    Block { hash: BlockHash, body: Bytes },
    Skip(u32),
    Close(oneshot::Sender<()>),
    Open(oneshot::Sender<Result<(), ZmqError>>),
}

/// The handle on the publisher's task; without an endpoint it does nothing.
pub(crate) struct Publisher {
    endpoint: Option<String>,
    commands: mpsc::UnboundedSender<Command>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Publisher {
    pub(crate) async fn start(bind: Option<&str>, stop: CancellationToken) -> Result<Self, StartError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let Some(bind) = bind else {
            return Ok(Self { endpoint: None, commands, task: Mutex::new(None) });
        };
        let mut socket = PubSocket::new();
        let bound = socket.bind(bind).await;
        let bound = bound.map_err(|error| StartError::Zmq { endpoint: bind.to_owned(), error })?;
        let endpoint = bound.to_string();
        let task = Task { socket: Some(socket), endpoint: endpoint.clone(), counter: 0, skip: 0 };
        let task = Mutex::new(Some(tokio::spawn(task.run(inbox, stop))));
        Ok(Self { endpoint: Some(endpoint), commands, task })
    }

    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Publishes a new tip. Waits for nothing.
    pub(crate) fn block(&self, hash: BlockHash, body: Bytes) {
        self.send(Command::Block { hash, body });
    }

    pub(crate) fn skip(&self, count: u32) {
        self.send(Command::Skip(count));
    }

    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.send(Command::Close(done));
        // A publisher that is gone is closed.
        let _ = closed.await;
    }

    pub(crate) async fn open(&self) -> Result<(), StartError> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let (done, opened) = oneshot::channel();
        self.send(Command::Open(done));
        let opened = opened.await.unwrap_or(Ok(()));
        opened.map_err(|error| StartError::Zmq { endpoint: endpoint.clone(), error })
    }

    /// Waits until the task has ended and its port is free.
    pub(crate) async fn stopped(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            // It ends by itself when the node stops; a panic in it has been reported by then.
            let _ = task.await;
        }
    }

    fn send(&self, command: Command) {
        // Fails only without a task: there is no ZMQ, or the node has stopped.
        let _ = self.commands.send(command);
    }
}

struct Task {
    socket: Option<PubSocket>,
    endpoint: String,
    counter: u32,
    skip: u32,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>, stop: CancellationToken) {
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => None,
                command = inbox.recv() => command,
            };
            match command {
                None => return self.close().await,
                Some(Command::Block { hash, body }) => self.publish(hash, body).await,
                Some(Command::Skip(count)) => self.skip += count,
                Some(Command::Close(done)) => {
                    self.close().await;
                    let _ = done.send(());
                }
                Some(Command::Open(done)) => {
                    let _ = done.send(self.open().await);
                }
            }
        }
    }

    async fn publish(&mut self, hash: BlockHash, body: Bytes) {
        let counter = self.counter;
        self.counter = counter.wrapping_add(1);
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let Some(socket) = &mut self.socket else { return };
        // On this wire a hash is written as people read it.
        let mut shown = hash.to_byte_array();
        shown.reverse();
        for (topic, body) in [("hashblock", Bytes::copy_from_slice(&shown)), ("rawblock", body)] {
            let mut message = ZmqMessage::from(Bytes::from_static(topic.as_bytes()));
            message.push_back(body);
            message.push_back(Bytes::copy_from_slice(&counter.to_le_bytes()));
            if let Err(error) = socket.send(message).await {
                tracing::debug!(%error, topic, "the simulated node could not publish");
            }
        }
    }

    async fn close(&mut self) {
        if let Some(socket) = self.socket.take() {
            for error in socket.close().await {
                tracing::debug!(%error, "the simulated node's publisher did not close cleanly");
            }
        }
    }

    async fn open(&mut self) -> Result<(), ZmqError> {
        if self.socket.is_none() {
            let mut socket = PubSocket::new();
            socket.bind(&self.endpoint).await?;
            self.socket = Some(socket);
            self.counter = 0;
        }
        Ok(())
    }
}
