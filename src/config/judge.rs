//! What no key can tell alone: contradictions between keys, and addresses that would be open to anybody. Called once,
//! when every source has been read; each mistake is told where the value was written.
use super::mistakes::Report;
use super::settings::{LISTENERS_MAX, Settings, Tls};
use super::words::{AuthMode, LogLevel};
use crate::runtime::tls::{Mistake, Part, mistakes};
use std::net::SocketAddr;

/// Reports what contradicts itself, settles what `verbose` means, and notes what has no effect.
pub(super) fn judge(settings: &mut Settings, report: &mut Report, notes: &mut Vec<String>) {
    if settings.verbose && report.set.contains_key("log_level") {
        notes.push("verbose has no effect, because log_level is set".to_owned());
    } else if settings.verbose {
        settings.log_level = LogLevel::Debug;
    }
    addresses(settings, report);
    tls(settings, report);
    if settings.shutdown.grace_ms > settings.shutdown.timeout_ms {
        contradiction(report, ["shutdown.grace", "at most"], ["shutdown.timeout", "at least"]);
    }
    if settings.mailbox.bytes < settings.max_event_size {
        contradiction(report, ["mailbox.bytes", "at least"], ["max_event_size", "at most"]);
    }
}

/// The files of a certificate go together and fit together.
fn tls(settings: &Settings, report: &mut Report) {
    let Tls { cert, key, client_ca } = &settings.tls;
    for (given, named, missing, needed) in [
        (cert, "tls.cert", key, "tls.key"),
        (key, "tls.key", cert, "tls.cert"),
        (client_ca, "tls.client_ca", cert, "tls.cert"),
    ] {
        if !given.is_empty() && missing.is_empty() {
            report.add_where_set(named, format_args!("needs {needed} beside it"));
        }
    }
    for (i, _) in settings.listeners.iter().enumerate().filter(|(_, listener)| listener.tls) {
        if settings.tls_files().is_none() {
            let key = format!("listeners[{i}].tls");
            report.add_where_set(&key, "needs a certificate: set tls.cert and tls.key");
        }
    }
    for Mistake { part, text } in settings.tls_files().iter().flat_map(mistakes) {
        let key = match part {
            Part::Cert => "tls.cert",
            Part::Key => "tls.key",
            Part::ClientCa => "tls.client_ca",
        };
        report.add_where_set(key, text);
    }
}

/// Nobody may be let in from outside by oversight, and no two listeners may want the same port.
fn addresses(settings: &Settings, report: &mut Report) {
    let further = (0..LISTENERS_MAX).map(|i| format!("listeners[{i}].address"));
    let keys = std::iter::once("host".to_owned()).chain(further);
    let all: Vec<(String, SocketAddr)> = keys.zip(settings.addresses()).collect();
    if settings.listeners.len() > LISTENERS_MAX {
        report.add_where_set("listeners", format_args!("must be at most {LISTENERS_MAX} addresses"));
    }
    for (i, (key, address)) in all.iter().enumerate() {
        if settings.is_open_at(*address) {
            let ip = address.ip();
            let mend = "write `auth: required` and a key, listen on 127.0.0.1, or write `auth: insecure` to let anybody in";
            report.add_where_set(key, format_args!("refuses to listen on {ip} without auth: {mend}"));
        }
        if let Some((_, other)) = all[..i].iter().find(|(_, other)| collide(*other, *address)) {
            report.add_where_set(key, format_args!("must be another address than {other}, which is taken"));
        }
    }
}

impl Settings {
    /// Whether anybody who reaches this address could do everything, without the word that allows it (contract 12).
    fn is_open_at(&self, address: SocketAddr) -> bool {
        !address.ip().to_canonical().is_loopback() && self.auth.mode == AuthMode::Off
    }

    /// The first address of those.
    #[must_use]
    pub fn open_to_strangers(&self) -> Option<SocketAddr> {
        self.addresses().find(|address| self.is_open_at(*address))
    }
}

/// Whether both want one port of one address; one that the kernel picks is always another.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        // `::` takes IPv4 too (`net.ipv6.bindv6only` is 0 unless somebody changes it).
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.ip().to_canonical().is_ipv4())
    };
    let same = one.ip().to_canonical() == other.ip().to_canonical();
    one.port() == other.port() && one.port() != 0 && (same || covers(one, other) || covers(other, one))
}

/// Tells the mistake at the key that somebody wrote: `first` must be at least (or most) `second`.
fn contradiction(report: &mut Report, first: [&str; 2], second: [&str; 2]) {
    let ([key, must], [other, _]) =
        if report.set.contains_key(first[0]) { (first, second) } else { (second, first) };
    report.add_where_set(key, format_args!("must be {must} {other}"));
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::super::tests::{bad, good, sources};
    use super::*;

    #[test]
    fn verbose_means_debug_unless_log_level_is_set() {
        assert_eq!(good("verbose: true\n", &[], &[]).log_level, LogLevel::Debug);
        let loaded = load(sources("verbose: yes\nlog_level: info\n", &[], &[])).unwrap();
        assert_eq!(loaded.settings.log_level, LogLevel::Info);
        assert!(
            loaded.notes.iter().any(|note| note.starts_with("verbose has no effect")),
            "{:?}",
            loaded.notes
        );
    }

    #[test]
    fn open_address_without_auth_is_refused_with_the_mend() {
        for host in ["0.0.0.0", "\"::\"", "192.0.2.1", "\"[2001:db8::1]\"", "\"::ffff:192.0.2.1\""] {
            let refused = bad(&format!("host: {host}\n"), &[], &[]);
            assert!(refused[0].starts_with("courier.yaml:1:7: host: refuses to listen on "), "{refused:?}");
            assert!(refused[0].contains("`auth: insecure`"), "{refused:?}");
            good(&format!("host: {host}\nauth: {{mode: insecure}}\n"), &[], &[]);
        }
        for host in ["127.0.0.1", "127.9.9.9", "localhost", "\"::1\"", "\"[::1]\"", "\"::ffff:127.0.0.1\""] {
            assert!(
                good(&format!("host: {host}\n"), &[], &[]).listen_address().ip().to_canonical().is_loopback()
            );
        }
        let refused = bad("", &[("COURIER_HOST", "::")], &[]);
        assert!(refused[0].starts_with("COURIER_HOST: refuses to listen on ::"), "{refused:?}");
    }

    #[test]
    fn open_further_address_without_auth_is_refused_where_it_is_written() {
        let file =
            "listeners:\n  - {address: \"127.0.0.1:9090\"}\n  - dialect: router\n    address: 0.0.0.0:9091\n";
        let refused = bad(file, &[], &[]);
        let place = "courier.yaml:4:14: listeners[1].address: refuses to listen on 0.0.0.0 without auth";
        assert!(refused.len() == 1 && refused[0].starts_with(place), "{refused:?}");
        good(&format!("{file}auth: insecure\n"), &[], &[]);
    }

    #[test]
    fn address_that_another_listener_takes_is_refused_where_it_is_written() {
        let with = |address: &str| {
            format!("host: \"::1\"\nport: 9000\nauth: insecure\nlisteners: [{{address: \"{address}\"}}]\n")
        };
        for address in ["[::1]:9000", "[::]:9000"] {
            let told = "courier.yaml:4:23: listeners[0].address: must be another address than [::1]:9000, which is taken";
            assert_eq!(bad(&with(address), &[], &[]), [told], "{address}");
        }
        for address in ["[::1]:9001", "127.0.0.1:9000", "0.0.0.0:9000", "[::1]:0"] {
            assert_eq!(good(&with(address), &[], &[]).listeners.len(), 1, "{address}");
        }
        let twice = "listeners: [{address: \"0.0.0.0:1\"}, {address: localhost:1}]\nauth: insecure\n";
        assert!(
            bad(twice, &[], &[])[0].starts_with("courier.yaml:1:47: listeners[1].address: must be another")
        );
        good("port: 0\nlisteners: [{address: localhost:0}, {address: localhost:0}]\n", &[], &[]);
    }

    #[test]
    fn contradiction_is_told_at_the_key_that_was_written() {
        assert_eq!(
            bad("shutdown: {grace: 40}\n", &[], &[]),
            ["courier.yaml:1:19: shutdown.grace: must be at most shutdown.timeout"]
        );
        assert_eq!(
            bad("", &[("COURIER_SHUTDOWN__TIMEOUT", "1")], &[]),
            ["COURIER_SHUTDOWN__TIMEOUT: must be at least shutdown.grace"]
        );
        assert_eq!(
            bad("mailbox: {bytes: 4096}\n", &[], &[]),
            ["courier.yaml:1:18: mailbox.bytes: must be at least max_event_size"]
        );
    }
}
