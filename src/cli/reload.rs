//! `courier reload [PID]`: tells a running server to read its settings again.

use rustix::process::{Pid, Signal, getpid, kill_process};
use std::path::Path;
use std::process::ExitCode;

/// Signals the server with this process id, or the only one that runs.
pub fn run(pid: Option<u32>) -> ExitCode {
    let pids = pid.map_or_else(servers, |pid| vec![pid]);
    let outcome = match pids[..] {
        [pid] => reload(pid),
        [] => Err("no running server was found".to_owned()),
        _ => Err(format!("several servers run ({pids:?}): name one, `courier reload PID`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("courier: {words}");
            ExitCode::FAILURE
        }
    }
}

fn reload(pid: u32) -> Result<(), String> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(format!("{pid} is not a process id"))?;
    kill_process(raw, Signal::HUP).map_err(|error| format!("process {pid} cannot be signalled: {error}"))?;
    println!("process {pid} reads its settings again; its log says how that went");
    Ok(())
}

/// Processes of this program, but for this one.
fn servers() -> Vec<u32> {
    let Ok(own) = std::fs::read_link("/proc/self/exe") else { return Vec::new() };
    let own_pid = getpid().as_raw_nonzero().get().unsigned_abs();
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own_pid && runs(*pid, &own)).collect()
}

fn runs(pid: u32, program: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program)
}
