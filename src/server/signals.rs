//! SIGTERM and SIGINT begin the stop; a second one ends the process at once (contract 19). SIGHUP reloads.

use super::reload::Reload;
use crate::config::{Loaded, Mistakes};
use crate::runtime::shard::Shared;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;

/// Reads the settings as they were read at the start.
pub type Read = Box<dyn Fn() -> Result<Loaded, Mistakes> + Send>;

/// Watches on a thread of its own.
pub(super) fn watch(shared: Arc<Shared>, mut reload: Reload) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload.run();
            } else if shared.drain.begin() {
                tracing::info!(signal, "stopping: no new work, what was taken is brought to its end");
                shared.ring_all();
            } else {
                tracing::warn!(signal, "a second signal: ending at once");
                // The shell's convention for a process that a signal ended.
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(())
}
