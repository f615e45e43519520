//! What the turn needs of glommio's ring: wait for a descriptor, let glommio have a pass, and tasks that a foreign
//! thread can wake. With `executor` the only place that names glommio; nothing here knows what a shard does.
use std::future::poll_fn;
use std::net::TcpStream as StdStream;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::AsyncRead;
use glommio::Task;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use socket2_of_glommio::Socket;

use crate::mailbox::wakers::Wakers;

/// The shortest wait that makes glommio poll its rings: a wait of zero is ready at once and does nothing.
const VISIT: Duration = Duration::from_micros(2);

/// The pace of looking when no descriptor is left for a park's copy.
const NO_COPY: Duration = Duration::from_millis(2);

/// Watch tasks per executor. Each serves one kick until the executor has run it; kicks are 10 ms apart.
const WATCH_TASKS: usize = 4;

/// Waits until a descriptor of any kind is readable, or for 2 ms when the process has no descriptor left.
///
/// glommio has no call for that; but its stream arms a poll as soon as it is made, before it asks what it was made from.
/// The stream owns and closes its descriptor, hence the copy. It serves one wait only: when it is polled after its poll
/// has completed, it tries to receive, and an epoll descriptor answers ENOTSOCK.
pub(crate) async fn until_readable(fd: BorrowedFd<'_>) {
    let Ok(copy) = fd.try_clone_to_owned() else {
        Timer::new(NO_COPY).await;
        return;
    };
    let socket = Socket::from(StdStream::from(copy));
    let mut stream = TcpStream::from(socket);
    let mut woken = false;
    poll_fn(|context| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        match Pin::new(&mut stream).poll_read(context, &mut [0]) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Lets glommio poll its rings, fire its timers and run its other tasks.
pub(crate) async fn visit() {
    Timer::new(VISIT).await;
}

/// Tasks that do nothing but offer their wakers to the watchdog: a foreign wake is what ends glommio's sleep.
pub(crate) struct Watched {
    tasks: Vec<Task<()>>,
    wakers: Arc<Wakers>,
}

impl Watched {
    pub(crate) fn start(wakers: &Arc<Wakers>) -> Watched {
        let tasks = (0..WATCH_TASKS).map(|_| glommio::spawn_local(offer(Arc::clone(wakers)))).collect();
        Watched { tasks, wakers: Arc::clone(wakers) }
    }

    /// Ends the tasks and drops their wakers on the thread that made them. One task is kept to the end, so that the
    /// watchdog has somebody to wake while the others are waited for.
    pub(crate) async fn stop(mut self) {
        let last = self.tasks.pop();
        for task in self.tasks {
            task.cancel().await;
        }
        drop(last);
        while self.wakers.take().is_some() {}
    }
}

async fn offer(wakers: Arc<Wakers>) {
    poll_fn(|context| {
        wakers.register(context.waker().clone());
        Poll::Pending
    })
    .await
}
