//! Which pages may read answers and open sockets (contract 12, 17): an `Origin` (RFC 6454) against the list of the
//! settings. Cookies count as credentials only for pages that are on it, or are the server's own: a browser sends
//! them with the requests of any page (cross-site WebSocket hijacking). Where nobody is asked who they are, and only this
//! machine can connect, a page is the server's own only under a name that is this machine's for certain: any other may be
//! a stranger's, whose owner lets it point here for a while (DNS rebinding).

use crate::wire::http::Head;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a page of another origin may see of an answer beside its body.
const EXPOSED: &str = "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, WWW-Authenticate";

/// The list. An empty one allows nobody but the server's own pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    entries: Box<[Entry]>,
    /// The server's own pages are only those whose host no stranger can name.
    local_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `*`
    Any,
    /// `https://app.example`
    Exact(Box<str>),
    /// `https://*.example.com:8443`: scheme with `://`, and what the authority ends in, from its dot on.
    Below(Box<str>, Box<str>),
}

/// Leave for a page to read an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Everybody may, so nobody's cookies are sent along.
    Anybody,
    /// This origin may, with its cookies.
    Page(Box<str>),
}

impl Origins {
    /// From the texts of the settings, which are origins, `*`, `null`, or origins whose host begins with `*.`.
    pub fn new(texts: &[String]) -> Origins {
        let entries = texts.iter().map(|text| entry(&text.to_ascii_lowercase())).collect();
        Origins { entries, local_only: false }
    }

    /// For a server that only this machine reaches and that asks nobody who they are: the machine is what keeps others out,
    /// so no page of theirs may come in through a browser on it.
    #[must_use]
    pub fn on_loopback(self) -> Origins {
        Origins { local_only: true, ..self }
    }

    /// Whether a page that may not ask may not send either: nothing but its origin could keep it out.
    pub fn guards_writes(&self) -> bool {
        self.local_only
    }

    /// What a page of `origin` may.
    pub fn allow(&self, origin: &str) -> Option<Allowed> {
        if self.entries.is_empty() {
            return None;
        }
        if self.lists(origin) {
            return Some(Allowed::Page(origin.into()));
        }
        self.entries.contains(&Entry::Any).then_some(Allowed::Anybody)
    }

    /// Whether `origin` is on the list by its name, not only by `*`.
    pub fn lists(&self, origin: &str) -> bool {
        let lower = origin.to_ascii_lowercase();
        let lower = without_default_port(&lower);
        self.entries.iter().any(|entry| match entry {
            Entry::Any => false,
            Entry::Exact(known) => **known == *lower,
            Entry::Below(scheme, end) => {
                let below = lower.strip_prefix(&**scheme).and_then(|host| host.strip_suffix(&**end));
                below.is_some_and(are_labels)
            }
        })
    }

    /// Whether the request comes from a page that may not ask: of another origin, and not allowed.
    pub fn is_foreign(&self, head: &Head<'_>) -> bool {
        head.origin.is_some_and(|origin| !self.is_own(origin, head.host) && self.allow(origin).is_none())
    }

    /// Whether the cookies of a request are its page's own doing: the page is the server's or on the list by name, or
    /// the client is no browser and sends no `Origin`. A browser sends none with a plain GET of its own origin
    /// either, and says by `Sec-Fetch-Site` when another site's page asked.
    /// Of an `encrypted` connection a page that was not is nobody's own: who has the line can write it, and the browser adds
    /// to its requests the cookies that are for encrypted ones.
    pub fn trusts_cookies(&self, head: &Head<'_>, encrypted: bool) -> bool {
        let open_page =
            |origin: &str| origin.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        match head.origin {
            Some(origin) if encrypted && open_page(origin) => self.lists(origin),
            Some(origin) => self.is_own(origin, head.host) || self.lists(origin),
            None => !head.field_lines().any(|(name, value)| {
                name.eq_ignore_ascii_case("Sec-Fetch-Site") && matches!(value, b"cross-site" | b"same-site")
            }),
        }
    }
}

impl Origins {
    /// Whether a page comes from this server itself: its origin's host and port are those that it asks (RFC 6454 5). The
    /// scheme is not compared: behind a proxy that ends TLS this server does not know its own. (Cookies want more.)
    fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        let (Some((_, authority)), Some(host)) = (origin.split_once("://"), host) else { return false };
        authority.eq_ignore_ascii_case(host) && !(self.local_only && may_be_a_strangers(host))
    }
}

impl Allowed {
    /// The header fields that say so (Fetch 3.3).
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let (origin, further): (&str, &[(&str, &str)]) = match self {
            Allowed::Anybody => ("*", &[]),
            Allowed::Page(origin) => {
                (origin, &[("Access-Control-Allow-Credentials", "true"), ("Vary", "Origin")])
            }
        };
        let first = [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", EXPOSED)];
        first.into_iter().chain(further.iter().copied())
    }
}

fn entry(text: &str) -> Entry {
    match text.split_once("://") {
        None if text == "*" => Entry::Any,
        Some((scheme, host)) if host.starts_with("*.") => {
            let whole = format!("{scheme}://{}", &host[1..]);
            let end = without_default_port(&whole)[scheme.len() + 3..].into();
            Entry::Below(format!("{scheme}://").into(), end)
        }
        _ => Entry::Exact(without_default_port(text).into()),
    }
}

/// Browsers leave it out (RFC 6454 6.2); people who write settings may not.
fn without_default_port(origin: &str) -> &str {
    let (scheme, port) = match origin.split_once("://") {
        Some(("https", _)) => ("https", ":443"),
        Some(("http", _)) => ("http", ":80"),
        _ => return origin,
    };
    origin.strip_suffix(port).filter(|rest| rest.len() > scheme.len() + 3).unwrap_or(origin)
}

/// Labels of a host name between dots: nothing that could end the authority early.
fn are_labels(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').all(is_label)
}

/// Whether a name server decides what an authority means. An address means itself, and `localhost`, with whatever is
/// below it, is this machine in every browser (RFC 6761 6.3).
fn may_be_a_strangers(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_none_or(|(address, _)| address.parse::<Ipv6Addr>().is_err());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    let top = host.rsplit_once('.').map_or(host, |(_, top)| top);
    host.parse::<Ipv4Addr>().is_err() && !top.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    fn origins(texts: &[&str]) -> Origins {
        Origins::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it_and_nothing_else() {
        let list = origins(&["https://*.example.com", "http://*.local.test:8080", "https://App.example:443"]);
        for origin in [
            "https://a.example.com",
            "https://a.b.example.com",
            "HTTPS://A.EXAMPLE.COM",
            "http://x.local.test:8080",
            "https://app.example",
        ] {
            assert_eq!(list.allow(origin), Some(Allowed::Page(origin.into())), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
            "https://a.example.com:444",
            "https://a.example.com.evil.test",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://evil.test:1.example.com",
            "https://u@.example.com",
            "http://x.local.test",
            "https://app.example:444",
            "null",
            "",
        ] {
            assert_eq!(list.allow(origin), None, "{origin}");
        }
    }

    #[test]
    fn a_star_lets_anybody_read_but_nobody_bring_cookies() {
        let list = origins(&["*", "https://app.example"]);
        assert_eq!(list.allow("https://evil.example"), Some(Allowed::Anybody));
        let fields: Vec<_> = Allowed::Anybody.fields().map(|(name, _)| name).collect();
        assert!(!fields.contains(&"Access-Control-Allow-Credentials"));
        let page = list.allow("https://app.example").unwrap();
        assert!(page.fields().any(|field| field == ("Access-Control-Allow-Credentials", "true")));
        assert_eq!(origins(&[]).allow("https://app.example"), None);
        assert_eq!(origins(&["null"]).allow("null"), Some(Allowed::Page("null".into())));
    }

    #[test]
    fn on_loopback_a_page_is_the_servers_own_only_under_a_name_that_no_stranger_has() {
        let open = origins(&["https://app.example"]);
        let (asked, local) = (open.clone(), open.on_loopback());
        for (host, own) in [
            ("localhost:8766", true),
            ("LocalHost", true),
            ("a.localhost:1", true),
            ("127.0.0.1:8766", true),
            ("[::1]:8766", true),
            ("[::1]", true),
            ("192.168.0.7:1", true),
            ("evil.example:8766", false),
            ("evil.example", false),
            ("localhost.evil.example:1", false),
            ("notlocalhost", false),
            ("127.0.0.1.evil.example:1", false),
            ("127.0.0.1evil", false),
            ("[evil.example]:1", false),
            ("[::1", false),
            ("", false),
            ("app.example", true),
        ] {
            let scheme = if host == "app.example" { "https" } else { "http" };
            let text = format!("GET /ws/a HTTP/1.1\r\nHost: {host}\r\nOrigin: {scheme}://{host}\r\n\r\n");
            let Ok(Some(head)) = head(text.as_bytes()) else { continue };
            assert_eq!(local.is_foreign(&head), !own, "{host}");
            assert!(!asked.is_foreign(&head), "{host}");
            assert_eq!(may_be_a_strangers(host), !own || host == "app.example", "{host}");
        }
        let text = b"GET /ws/a HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert!(!local.is_foreign(&head(text).unwrap().unwrap()), "who is no page sends no Origin");
    }

    #[test]
    fn cookies_count_for_own_and_listed_pages_and_for_clients_that_are_no_browser() {
        let list = origins(&["https://app.example", "*"]);
        for (lines, trusted) in [
            ("", true),
            ("Origin: http://a:1\r\n", true),
            ("Origin: https://a:1\r\n", true),
            ("Origin: https://app.example\r\n", true),
            ("Origin: https://evil.example\r\n", false),
            ("Origin: null\r\n", false),
            ("Sec-Fetch-Site: cross-site\r\n", false),
            ("Sec-Fetch-Site: same-site\r\n", false),
            ("Sec-Fetch-Site: same-origin\r\n", true),
        ] {
            let text = format!("GET /sse/a HTTP/1.1\r\nHost: a:1\r\n{lines}\r\n");
            let head = head(text.as_bytes()).unwrap().unwrap();
            assert_eq!(list.trusts_cookies(&head, false), trusted, "{lines}");
            let own_page_in_the_clear = lines.starts_with("Origin: http://a");
            assert_eq!(list.trusts_cookies(&head, true), trusted && !own_page_in_the_clear, "{lines}");
        }
    }
}
