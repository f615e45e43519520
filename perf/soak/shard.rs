//! What a shard does in the soak: echoes, spreads published frames to its connections and by mail to the other shard, and
//! keeps glommio timers and file writes going beside. Small, but it uses every part of the runtime's seam.
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use courier::mailbox::lanes::Port;
use courier::runtime::core::{Core, Next, Ready};
use courier::runtime::executor::Seat;
use courier::runtime::guests::Guest;
use courier::runtime::readiness::Readiness;
use courier::stdx::clock::Now;
use glommio::io::BufferedFile;
use glommio::timer::Timer;

use crate::report::{Records, What};

/// A frame: its kind, seven bytes of nothing, and when it was sent in microseconds of the clock.
pub const FRAME_BYTES: usize = 16;
pub const ECHO: u8 = b'E';
pub const PUBLISH: u8 = b'P';

/// So many things found in one turn, or mail, and the next turn comes at once; after less the shard may sleep.
const BUSY: usize = 2;

/// glommio timers per shard, and their periods.
const TIMERS: u64 = 3;
const BUSY_TIMER_US: u64 = 7_000;
const IDLE_TIMER_US: u64 = 150_000;

/// When the guest that never runs is expected: in 31 years.
const NEVER_US: u64 = 1_000_000_000_000_000;

/// Between two files.
const FILE_PAUSE_US: u64 = 20_000;
const FILE_BYTES: usize = 16 * 1024;

/// What the main thread tells the others.
pub struct Switches {
    pub busy: AtomicBool,
    pub stop: AtomicBool,
}

impl Switches {
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

pub fn frame(kind: u8, sent_us: u64) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    bytes[0] = kind;
    bytes[8..].copy_from_slice(&sent_us.to_le_bytes());
    bytes
}

pub fn sent_us(frame: &[u8]) -> u64 {
    u64::from_le_bytes(frame[8..FRAME_BYTES].try_into().expect("a frame ends with eight bytes"))
}

/// What travels between shards: frames to deliver, and when they were sent.
pub struct Batch {
    sent_us: u64,
    frames: Vec<u8>,
}

/// The core of one shard.
pub struct Soaked {
    seat: Seat,
    port: Port<Batch>,
    switches: Arc<Switches>,
    connections: Vec<Connection>,
    /// Published in this turn: to go to all connections here, and to the other shard.
    here: Vec<u8>,
    away: Vec<u8>,
    /// Clients that this turn has read something whole of; mail counts as [`BUSY`].
    found: usize,
    last_worked_us: Option<u64>,
    records: Rc<RefCell<Records>>,
    tasks_left: Rc<Cell<usize>>,
    hand_in: Sender<Records>,
    _sleeper: Option<Guest>,
}

/// What waits in glommio beside the sockets.
pub enum Beside {
    /// Nothing: the shard sleeps in its own set.
    Nothing,
    /// A guest that never runs: the shard sleeps in glommio, and nothing of the guest's ever wakes it.
    Sleeper,
    /// Timers, and files in this folder.
    Tasks(PathBuf),
}

struct Connection {
    socket: TcpStream,
    half: Vec<u8>,
    out: Vec<u8>,
}

impl Soaked {
    pub fn new(
        seat: Seat,
        port: Port<Batch>,
        switches: Arc<Switches>,
        beside: &Beside,
        hand_in: Sender<Records>,
    ) -> Soaked {
        let records = Rc::new(RefCell::new(Records::new(Some(seat.shard))));
        let tasks_left = Rc::new(Cell::new(0));
        let mut sleeper = None;
        if let Beside::Sleeper = beside {
            sleeper = Some(seat.guests.expect(NEVER_US));
        }
        if let Beside::Tasks(folder) = beside {
            let tasks = Tasks {
                seat: seat.clone(),
                switches: Arc::clone(&switches),
                records: Rc::clone(&records),
                left: Rc::clone(&tasks_left),
            };
            tasks.start(folder);
        }
        Soaked {
            seat,
            port,
            switches,
            connections: Vec::new(),
            here: Vec::new(),
            away: Vec::new(),
            found: 0,
            last_worked_us: None,
            records,
            tasks_left,
            hand_in,
            _sleeper: sleeper,
        }
    }

    fn late(&self, what: What, due_us: u64) {
        self.records.borrow_mut().late(what, due_us, self.seat.clock.now().steady_us);
    }

    fn take(&mut self, index: usize, frame: &[u8]) {
        self.late(What::Pickup, sent_us(frame));
        if frame[0] == ECHO {
            self.connections[index].out.extend_from_slice(frame);
        } else {
            self.here.extend_from_slice(frame);
            self.away.extend_from_slice(frame);
        }
    }

    fn send_away(&mut self) {
        let frames = std::mem::take(&mut self.away);
        let other = (self.port.shard() + 1) % self.port.shards();
        let sent_us = self.seat.clock.now().steady_us;
        let _ = self.port.send(other, Batch { sent_us, frames });
    }
}

impl Core for Soaked {
    fn accepted(&mut self, set: &Readiness, socket: OwnedFd, _peer: SocketAddr, _: usize, _now: Now) {
        set.add(&socket, self.connections.len() as u64).expect("the set takes it");
        let socket = TcpStream::from(socket);
        self.connections.push(Connection { socket, half: Vec::new(), out: Vec::new() });
    }

    fn ready(&mut self, _set: &Readiness, token: u64, what: Ready, _now: Now) {
        if !what.readable() {
            return;
        }
        let index = token as usize;
        let mut buffer = [0; 16 * 1024];
        let mut bytes = std::mem::take(&mut self.connections[index].half);
        let mut socket = &self.connections[index].socket;
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    bytes.extend_from_slice(&buffer[..length]);
                    if length < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        let whole = bytes.len() / FRAME_BYTES * FRAME_BYTES;
        for frame in bytes[..whole].chunks_exact(FRAME_BYTES) {
            self.take(index, frame);
        }
        self.found += usize::from(whole > 0);
        self.connections[index].half = bytes.split_off(whole);
    }

    fn mail(&mut self, _set: &Readiness, now: Now) -> bool {
        if let Some(last_us) = self.last_worked_us.take() {
            self.records.borrow_mut().late(What::Gap, last_us, now.steady_us);
        }
        let other = (self.port.shard() + 1) % self.port.shards();
        let mut some = false;
        while let Some(batch) = self.port.receive(other) {
            self.late(What::Hop, batch.sent_us);
            self.here.extend_from_slice(&batch.frames);
            some = true;
        }
        self.found += if some { BUSY } else { 0 };
        some
    }

    fn end_turn(&mut self, _set: &Readiness, now: Now) -> Next {
        if !self.away.is_empty() {
            self.send_away();
        }
        for connection in &mut self.connections {
            connection.out.extend_from_slice(&self.here);
            if !connection.out.is_empty() {
                // What a slow client does not take is dropped: the soak measures the shard, not delivery.
                let _ = connection.socket.write(&connection.out);
                connection.out.clear();
            }
        }
        self.here.clear();
        if std::mem::take(&mut self.found) >= BUSY {
            self.last_worked_us = Some(now.steady_us);
        }
        let done = self.switches.stopped() && self.tasks_left.get() == 0;
        Next { done, ..Next::IDLE }
    }

    fn mail_waiting(&self) -> bool {
        !self.port.is_empty()
    }

    fn panicked(&mut self, _set: &Readiness, token: u64) {
        panic!("the soak's core does not panic, but it did at {token}");
    }
}

impl Drop for Soaked {
    fn drop(&mut self) {
        let records = self.records.replace(Records::new(None));
        let _ = self.hand_in.send(records);
    }
}

/// The glommio tasks beside the core.
#[derive(Clone)]
struct Tasks {
    seat: Seat,
    switches: Arc<Switches>,
    records: Rc<RefCell<Records>>,
    left: Rc<Cell<usize>>,
}

impl Tasks {
    fn start(&self, folder: &Path) {
        for number in 0..TIMERS {
            let tasks = self.clone();
            self.left.set(self.left.get() + 1);
            glommio::spawn_local(async move { tasks.timers(number).await }).detach();
        }
        let (tasks, folder) = (self.clone(), folder.to_owned());
        self.left.set(self.left.get() + 1);
        glommio::spawn_local(async move { tasks.files(&folder).await }).detach();
    }

    fn now_us(&self) -> u64 {
        self.seat.clock.now().steady_us
    }

    /// Waits in glommio and records how late it was woken.
    async fn wait_us(&self, us: u64) {
        let due_us = self.now_us() + us;
        let guest = self.seat.guests.expect(due_us);
        Timer::new(Duration::from_micros(us)).await;
        drop(guest);
        self.records.borrow_mut().late(What::Timer, due_us, self.now_us());
    }

    async fn timers(&self, number: u64) {
        while !self.switches.stopped() {
            let busy = self.switches.busy.load(Ordering::Relaxed);
            let period_us = if busy { BUSY_TIMER_US } else { IDLE_TIMER_US };
            self.wait_us(period_us + 1_000 * number).await;
        }
        self.left.set(self.left.get() - 1);
    }

    async fn files(&self, folder: &Path) {
        let (draft, done) =
            (folder.join(format!("{}.draft", self.seat.shard)), folder.join(self.seat.shard.to_string()));
        while !self.switches.stopped() {
            let began_us = self.now_us();
            let guest = self.seat.guests.expect(0);
            let written = write_file(&draft, &done).await;
            drop(guest);
            // Without a descriptor there is no file; the shard goes on, and so does the soak.
            if written.is_ok() {
                self.records.borrow_mut().late(What::File, began_us, self.now_us());
            }
            self.wait_us(FILE_PAUSE_US).await;
        }
        self.left.set(self.left.get() - 1);
    }
}

/// Create, write, flush and close pass through glommio's ring; rename and remove through its helper thread.
async fn write_file(draft: &Path, done: &Path) -> glommio::Result<(), ()> {
    let mut file = BufferedFile::create(draft).await?;
    file.write_at(vec![7; FILE_BYTES], 0).await?;
    file.fdatasync().await?;
    file.rename(done).await?;
    file.close().await?;
    // After the close: the last close of a removed file deletes it, and the ring closes on the shard's thread.
    glommio::io::remove(done).await
}
