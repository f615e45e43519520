//! What a handshake costs a server, in memory and without a socket: the time of its longest step, which is what a shard
//! would stand still for if it did the step itself, and of all its steps.

use super::peer::{config, session};
use super::process::now_ns;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const HANDSHAKES: usize = 60;

/// Prints a row for each key in `folder`, `NAME.pem` beside `NAME.key`.
pub fn print(folder: &Path, names: &[String]) {
    println!(
        "{:<12}{:>14}{:>14}{:>18}{:>20}",
        "key", "longest us", "all steps us", "resumed, all us", "of a core, 1,000/s"
    );
    for name in names {
        let server = server(folder, name);
        let (longest, all) = measured(&server, false);
        let (_, resumed) = measured(&server, true);
        let share = all.as_secs_f64() * 1000.0 * 100.0;
        let us = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
        println!("{name:<12}{:>14}{:>14}{:>18}{:>18.0} %", us(longest), us(all), us(resumed), share);
    }
}

fn server(folder: &Path, name: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).expect("a file");
    let chain = chain.map(|certificate| certificate.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has suites");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("they fit");
    config.ticketer = Ticketer::new().expect("random numbers");
    Arc::new(config)
}

/// The medians over handshakes: of the longest step of each, and of the sum of its steps.
fn measured(server: &Arc<ServerConfig>, resuming: bool) -> (Duration, Duration) {
    let client = config(resuming);
    let mut figures: Vec<(Duration, Duration)> = (0..HANDSHAKES)
        .map(|_| {
            let (mut here, mut there) =
                (session(&client), ServerConnection::new(Arc::clone(server)).expect("sound"));
            let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
            while here.is_handshaking() || there.is_handshaking() || there.wants_write() {
                pump(|out| here.write_tls(out), |bytes| there.read_tls(bytes));
                let began = now_ns();
                there.process_new_packets().expect("a client in its senses");
                let step = Duration::from_nanos(now_ns() - began);
                (longest, all) = (longest.max(step), all + step);
                pump(|out| there.write_tls(out), |bytes| here.read_tls(bytes));
                here.process_new_packets().expect("a server in its senses");
            }
            (longest, all)
        })
        .collect();
    figures.remove(0); // the first of the resuming ones has nothing to resume
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    (median(figures.iter().map(|f| f.0).collect()), median(figures.iter().map(|f| f.1).collect()))
}

fn pump(
    write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<usize>,
    mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>,
) {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("memory");
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        read(&mut rest).expect("memory");
    }
}
