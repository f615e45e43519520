//! The server under the storm: started on a free port, found by the line that it prints, ended by its own process id.
use std::io::{BufRead, BufReader, Error, Result};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Arguments;
use crate::process::{cpu_ns, resident_bytes};

/// Connections beside the crowd: witnesses, the publisher, and cut ones that the server has not noticed yet.
const CONNECTIONS_SPARE: usize = 5_000;

/// A running server.
pub struct Server {
    child: Child,
    /// Open as long as it runs: it has more to say than where it listens.
    _output: BufReader<ChildStdout>,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts it. With one shard it is pinned to the first core that there is, and this process to the others.
    pub fn start(arguments: &Arguments) -> Result<Server> {
        let cores = sched_getaffinity(None)?;
        let alone = (arguments.shards == 1).then(|| split(&cores)).flatten();
        if let Some((first, _)) = &alone {
            sched_setaffinity(None, first)?; // the child inherits it
        }
        let mut command = Command::new(&arguments.binary);
        // The caller's settings are not the storm's.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COURIER_"))
        {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "0"])
            .env("COURIER_SHARDS", arguments.shards.to_string())
            .env("COURIER_LOG_LEVEL", "warning")
            .env("COURIER_MAX_TOTAL_CONNECTIONS", (arguments.clients + CONNECTIONS_SPARE).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some((_, others)) = &alone {
            sched_setaffinity(None, others)?;
        }
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        output.read_line(&mut line)?;
        let Some(port) = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()) else {
            child.kill()?;
            return Err(Error::other(format!("{} said {line:?}", arguments.binary.display())));
        };
        Ok(Server { child, _output: output, port })
    }

    /// CPU time in nanoseconds and resident bytes so far.
    pub fn usage(&self) -> (u64, u64) {
        let pids = [self.child.id()];
        (cpu_ns(&pids), resident_bytes(&pids))
    }

    /// Ends it and checks that it ended well.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        // The second signal skips the drain: the crowd is still connected and has been checked.
        kill_process(pid, Signal::TERM)?;
        kill_process(pid, Signal::TERM)?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    /// A storm that failed leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first core, and all others; `None` when there is only one.
fn split(cores: &CpuSet) -> Option<(CpuSet, CpuSet)> {
    let first = (0..CpuSet::MAX_CPU).find(|core| cores.is_set(*core))?;
    let (mut one, mut others) = (CpuSet::new(), *cores);
    one.set(first);
    others.unset(first);
    (others.count() > 0).then_some((one, others))
}
