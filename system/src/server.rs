//! The privileged socket: the pool and root ask, the main loop answers. One thread a client, a bounded number of them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use warppool_jail::peer;
use warppool_protocol::{Answer, Progress, Refusal, RefusedFor, Reply, Request, read_frame, write_frame};

use crate::console::say;
use crate::users::User;

const CLIENTS: usize = 16;
/// A client that says nothing for so long is let go; the pool speaks every second.
const SILENCE: Duration = Duration::from_mins(2);
/// A client that does not read.
const DEAF: Duration = Duration::from_secs(10);
const STACK: usize = 512 * 1024;
/// How often a waiting client is shown what progress there is.
const SHOW: Duration = Duration::from_millis(250);

/// A question that waits for [`Asker::answer`].
#[derive(Debug)]
pub struct Question {
    pub uid: u32,
    pub request: Request,
    pub asker: Asker,
}

/// The way back to a client. Never makes the one who answers wait: of progress, the client is shown the latest.
///
/// Dropping the last copy without an answer tells the client that it was not carried out.
#[derive(Clone, Debug)]
pub struct Asker {
    slip: Arc<Slip>,
    somebody: bool,
}

#[derive(Debug, Default)]
struct Slip {
    state: Mutex<SlipState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SlipState {
    progress: Option<Progress>,
    done: Option<Result<Reply, Refusal>>,
}

impl Asker {
    fn state(&self) -> MutexGuard<'_, SlipState> {
        self.slip.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn progress(&self, progress: Progress) {
        self.state().progress = Some(progress);
    }

    /// The first answer counts.
    pub fn answer(&self, answer: Result<Reply, Refusal>) {
        self.state().done.get_or_insert(answer);
        self.slip.changed.notify_all();
    }

    pub fn refuse(&self, why: RefusedFor, message: impl Into<String>) {
        self.answer(Err(Refusal::new(why, message)));
    }

    /// A way back that leads nowhere: for what PID 1 asks of itself.
    pub fn nobody() -> Self {
        Self { slip: Arc::default(), somebody: false }
    }

    pub fn is_somebody(&self) -> bool {
        self.somebody
    }
}

/// Waits for what the main loop says and passes it on.
fn serve_one(stream: &mut UnixStream, slip: &Arc<Slip>) -> Result<(), warppool_protocol::FrameError> {
    loop {
        let (progress, done) = {
            let mut state = slip.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.done.is_none() {
                state = slip.changed.wait_timeout(state, SHOW).unwrap_or_else(PoisonError::into_inner).0;
            }
            // Our copy alone is left: nobody will answer any more.
            if state.done.is_none() && Arc::strong_count(slip) == 1 {
                state.done = Some(Err(Refusal::new(RefusedFor::Failed, "it was not carried out; the log says more")));
            }
            (state.progress.take(), state.done.take())
        };
        if let Some(progress) = progress {
            write_frame(stream, &Answer::Progress(progress))?;
        }
        if let Some(done) = done {
            return write_frame(stream, &Answer::Done(done));
        }
    }
}

/// Listens, and hands each question of an admitted user to `ask`, which may block while the main loop is busy.
pub fn start(
    socket: &Path,
    admitted: &'static [User],
    owner: Option<User>,
    ask: impl Fn(Question) + Send + Sync + 'static,
) -> io::Result<()> {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(socket, Some(0), Some(owner.gid))?;
    }
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660))?;
    let ask = Arc::new(ask);
    let clients = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("socket".into()).stack_size(STACK).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: not a reason to spin.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS {
                clients.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (ask, counter) = (ask.clone(), clients.clone());
            let thread = thread::Builder::new().name("client".into()).stack_size(STACK).spawn(move || {
                if let Err(why) = client(stream, admitted, &*ask) {
                    say!("socket: a client was let go: {why}");
                }
                counter.fetch_sub(1, Ordering::Relaxed);
            });
            if thread.is_err() {
                clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}

fn client(
    mut stream: UnixStream,
    admitted: &[User],
    ask: &dyn Fn(Question),
) -> Result<(), warppool_protocol::FrameError> {
    let uid = peer(&stream)?.uid;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(DEAF))?;
    if !admitted.iter().any(|user| user.uid == uid) {
        let refusal = Refusal::new(RefusedFor::Permission, format!("user {uid} may not ask the system anything"));
        return write_frame(&mut stream, &Answer::Done(Err(refusal)));
    }
    while let Some(request) = read_frame::<Request>(&mut stream)? {
        let slip = Arc::new(Slip::default());
        ask(Question { uid, request, asker: Asker { slip: slip.clone(), somebody: true } });
        serve_one(&mut stream, &slip)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use warppool_protocol::{Client, ClientError, Stage};

    use super::*;

    static ME: std::sync::LazyLock<[User; 1]> =
        std::sync::LazyLock::new(|| [User { uid: nix::unistd::getuid().as_raw(), gid: 0 }]);
    const PATIENCE: Duration = Duration::from_secs(5);

    fn serving(admitted: &'static [User]) -> (tempfile::TempDir, std::path::PathBuf, mpsc::Receiver<Question>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("system.sock");
        let (send, questions) = mpsc::sync_channel(4);
        start(&socket, admitted, None, move |question| send.send(question).unwrap()).unwrap();
        (folder, socket, questions)
    }

    #[test]
    fn a_question_is_answered_with_progress_on_the_way() {
        let (_folder, socket, questions) = serving(&*ME);
        let main = thread::spawn(move || {
            for question in questions {
                assert_eq!(question.request, Request::CheckForUpdate);
                let step = Progress { stage: Stage::Checking, done: 1, total: 2, reused: 0 };
                question.asker.progress(step);
                thread::sleep(SHOW * 2);
                question.asker.answer(Ok(Reply::Update(None)));
            }
        });
        let mut client = Client::connect(&socket, PATIENCE).unwrap();
        for _ in 0..2 {
            let mut steps = Vec::new();
            let reply = client.ask(&Request::CheckForUpdate, |step| steps.push(step)).unwrap();
            assert_eq!(reply, Reply::Update(None));
            assert_eq!(steps.len(), 1);
        }
        drop(main);
    }

    #[test]
    fn a_question_that_is_dropped_is_refused() {
        let (_folder, socket, questions) = serving(&*ME);
        thread::spawn(move || questions.into_iter().for_each(drop));
        let mut client = Client::connect(&socket, PATIENCE).unwrap();
        match client.ask(&Request::Status, |_| ()) {
            Err(ClientError::Refused(refusal)) => assert_eq!(refusal.why, RefusedFor::Failed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stranger_learns_nothing() {
        let (_folder, socket, questions) = serving(&[User { uid: 4_000_000, gid: 0 }]);
        let mut client = Client::connect(&socket, PATIENCE).unwrap();
        match client.ask(&Request::Status, |_| ()) {
            Err(ClientError::Refused(refusal)) => assert_eq!(refusal.why, RefusedFor::Permission),
            // It may be gone before our question was written.
            Err(ClientError::Frame(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(questions.try_recv().is_err());
    }

    #[test]
    fn more_clients_than_there_are_threads_are_turned_away_and_come_back_later() {
        let (_folder, socket, questions) = serving(&*ME);
        thread::spawn(move || questions.into_iter().for_each(|q| q.asker.answer(Ok(Reply::Accepted))));
        let ask = |client: &mut Client| client.ask(&Request::Status, |_| ());
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&socket, PATIENCE).unwrap()).collect();
        for client in &mut clients {
            ask(client).unwrap();
        }
        assert!(ask(&mut Client::connect(&socket, PATIENCE).unwrap()).is_err());
        clients.pop();
        let until = std::time::Instant::now() + PATIENCE;
        while ask(&mut Client::connect(&socket, PATIENCE).unwrap()).is_err() {
            assert!(std::time::Instant::now() < until, "a place becomes free");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
