//! The disk alone: what one append costs until it is on it, with nobody else in the way.
use std::fs::{OpenOptions, remove_file};
use std::io::{Result, Write};
use std::path::Path;

use crate::process::now_ns;
use crate::{histogram, members};

/// The least that a disk writes.
const BLOCK: [u8; 4096] = [0x5a; 4096];
const NAME: &str = "sync-probe";

/// Appends and syncs for so many seconds; answers a line of JSON.
pub fn run(folder: &Path, seconds: f64) -> Result<String> {
    let path = folder.join(NAME);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let mut times = histogram();
    let began_ns = now_ns();
    let end_ns = began_ns + (seconds * 1e9) as u64;
    let mut at_ns = began_ns;
    while at_ns < end_ns {
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        let now = now_ns();
        times.saturating_record(now - at_ns);
        at_ns = now;
    }
    remove_file(&path)?;
    let per_s = times.len() as f64 * 1e9 / (at_ns - began_ns) as f64;
    Ok(format!("{{\"per_s\":{per_s:.1},{}}}", members(&times)))
}
