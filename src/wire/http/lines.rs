//! Fields that few requests have or few paths read: found in the head's lines by those who ask, and no part of `Head`.
use super::Head;

impl<'b> Head<'b> {
    /// `Last-Event-ID` of a client that comes back to a stream (WHATWG HTML 9.2), its first line; the replacement
    /// character if that is not UTF-8, so that who reads it refuses it: without one nothing would be replayed.
    pub fn last_event_id(&self) -> Option<&'b str> {
        self.value("Last-Event-ID").map(|value| str::from_utf8(value).unwrap_or("\u{fffd}"))
    }

    /// `traceparent` (W3C Trace Context), its first line, unchecked. Costs nothing where there is none.
    pub fn traceparent(&self) -> Option<&'b str> {
        if self.is_traced { self.field("traceparent") } else { None }
    }

    /// `X-API-Key`, each of its lines that is UTF-8.
    pub fn api_keys(&self) -> impl Iterator<Item = &'b str> {
        let lines = self.field_lines().filter(|(name, _)| name.eq_ignore_ascii_case("X-API-Key"));
        lines.filter_map(|(_, value)| str::from_utf8(value).ok())
    }

    /// Every field as it stands in the head: its name in the spelling given, its value without the spaces around it.
    pub fn field_lines(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        fields(self.lines).filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value)))
    }

    pub(super) fn field(&self, name: &str) -> Option<&'b str> {
        str::from_utf8(self.value(name)?).ok()
    }

    pub(super) fn value(&self, name: &str) -> Option<&'b [u8]> {
        fields(self.lines).find(|field| field.0.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.1)
    }
}

/// Names and values of field lines whose grammar was seen to.
fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::head;

    #[test]
    fn fields_are_found_in_any_spelling_and_only_there() {
        let text = b"POST / HTTP/1.1\r\nhost: a\r\nX-Last-Event-ID: x\r\nidempotency-key: \"k\"\r\n\
            LAST-EVENT-ID:0a:7 \r\nTraceparent: 00-ab-cd-01\r\ntraceparent: x\r\nCe-SpecVersion: 1.0\r\n\r\n";
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.idempotency_key, head.last_event_id()), (Some("\"k\""), Some("0a:7")));
        assert_eq!((head.traceparent(), head.is_cloud_event), (Some("00-ab-cd-01"), true));
    }

    #[test]
    fn what_is_not_there_or_not_text_is_not_found() {
        for text in [
            &b"GET / HTTP/1.0\r\n\r\nLast-Event-ID: 1\r\ntraceparent: 1\r\n"[..],
            b"GET / HTTP/1.0\r\ntraceparent: \xff\r\n\r\n",
            b"GET /Last-Event-ID:1 HTTP/1.0\r\nX: Last-Event-ID: 1\r\n\r\n",
        ] {
            let head = head(text).unwrap().unwrap();
            assert_eq!((head.last_event_id(), head.traceparent(), head.idempotency_key), (None, None, None));
            assert!(!head.is_cloud_event);
        }
    }

    #[test]
    fn an_id_that_is_not_text_is_told_from_none() {
        let head = head(b"GET / HTTP/1.0\r\nLast-Event-ID: \xff\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.last_event_id(), Some("\u{fffd}"));
    }
}
