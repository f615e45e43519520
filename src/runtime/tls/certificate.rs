//! What is needed of an X.509 certificate (RFC 5280 4.1) beside its verification, which rustls does: until when it is
//! valid, and whom it names. Reads DER and never fails loudly: what is not as expected is not there.
use crate::auth::Certified;
use crate::event::unix_ms_of;
use ring::digest;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// A name of a host, and an address of anything, within the alternative names (RFC 5280 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Names that are kept of one certificate; more are passed over.
const NAMES_MAX: usize = 16;

/// Whom a client's certificate names. It was verified: the authority in `tls.client_ca` has signed it, and it is valid.
pub(super) fn certified(der: &[u8]) -> Certified {
    let fields = Fields::of(der);
    let names = fields.as_ref().and_then(|fields| alternative_names(fields.extensions?));
    let names = names.filter(|names| !names.is_empty());
    let subject = || fields.as_ref().and_then(|fields| common_name(fields.subject)).into_iter().collect();
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    Certified {
        names: names.unwrap_or_else(subject),
        // One whose end is not read ended long ago.
        ends_at_s: validity_ms(der).map_or(0, |(_, end_ms)| end_ms / 1000),
        fingerprint,
    }
}

/// From when and until when a certificate is valid, in Unix milliseconds.
pub fn validity_ms(der: &[u8]) -> Option<(u64, u64)> {
    let mut validity = Fields::of(der)?.validity;
    Some((time(&mut validity)?, time(&mut validity)?))
}

/// The fields that are looked at.
struct Fields<'d> {
    validity: &'d [u8],
    subject: &'d [u8],
    extensions: Option<&'d [u8]>,
}

impl<'d> Fields<'d> {
    fn of(mut der: &'d [u8]) -> Option<Fields<'d>> {
        let mut certificate = expect(&mut der, SEQUENCE)?;
        let mut body = expect(&mut certificate, SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            element(&mut body)?;
        }
        for _serial_algorithm_issuer in 0..3 {
            element(&mut body)?;
        }
        let validity = expect(&mut body, SEQUENCE)?;
        let subject = expect(&mut body, SEQUENCE)?;
        let mut extensions = None;
        while let Some((tag, value)) = element(&mut body) {
            extensions = (tag == EXTENSIONS).then_some(value).or(extensions);
        }
        Some(Fields { validity, subject, extensions })
    }
}

fn common_name(mut subject: &[u8]) -> Option<Box<str>> {
    while let Some(mut set) = expect(&mut subject, SET) {
        while let Some(mut pair) = expect(&mut set, SEQUENCE) {
            if expect(&mut pair, OBJECT_ID)? == COMMON_NAME {
                return text(element(&mut pair)?.1);
            }
        }
    }
    None
}

fn alternative_names(mut wrapped: &[u8]) -> Option<Vec<Box<str>>> {
    let mut list = expect(&mut wrapped, SEQUENCE)?;
    while let Some(mut extension) = expect(&mut list, SEQUENCE) {
        if expect(&mut extension, OBJECT_ID)? != ALTERNATIVE_NAMES {
            continue;
        }
        if extension.first() == Some(&BOOLEAN) {
            element(&mut extension)?;
        }
        let mut value = expect(&mut extension, OCTET_STRING)?;
        let mut names = expect(&mut value, SEQUENCE)?;
        let mut found = Vec::new();
        while let Some((tag, name)) = element(&mut names) {
            if matches!(tag, DNS_NAME | URI) && found.len() < NAMES_MAX {
                found.extend(text(name));
            }
        }
        return Some(found);
    }
    None
}

/// Text without anything that could confuse a log or a comparison.
fn text(bytes: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into())
}

/// `YYMMDDHHMMSSZ`, or with four digits of the year (RFC 5280 4.1.2.5).
fn time(rest: &mut &[u8]) -> Option<u64> {
    let (tag, digits) = element(rest)?;
    let digits = str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let century = match (tag, digits.get(..2)?.parse::<u8>().ok()?) {
        (UTC_TIME, 0..50) => "20",
        (UTC_TIME, _) => "19",
        (GENERALIZED_TIME, _) => "",
        _ => return None,
    };
    let all = format!("{century}{digits}");
    let part = |from: usize, to: usize| all.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    unix_ms_of(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

fn expect<'d>(rest: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    if rest.first() != Some(&tag) {
        return None;
    }
    element(rest).map(|(_, value)| value)
}

/// The next element: its tag and its value.
fn element<'d>(rest: &mut &'d [u8]) -> Option<(u8, &'d [u8])> {
    let (&[tag, first], after) = rest.split_first_chunk::<2>()?;
    let long = usize::from(first & 0x7f);
    let (length, after) = match first {
        ..=0x7f => (usize::from(first), after),
        0x81..=0x83 => {
            let (bytes, after) = after.split_at_checked(long)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), after)
        }
        _ => return None,
    };
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -newkey ed25519 -subj "/O=Order desk/CN=matcher" -days 10000
    /// -addext subjectAltName=DNS:matcher.example,IP:127.0.0.1,URI:spiffe://a/b`, in hex: it ends after 2050, so that one of
    /// its dates is in each of the two forms.
    const CERTIFICATE: &str = "3082019730820149a00302010202146d9a46bc3997ea38c091ed9e767a70b01d7f6c54300506032b6570302731133011060355040a0c0a4f72646572206465736b3110300e06035504030c076d6174636865723020170d3236313132383232303234365a180f32303534303431353232303234365a302731133011060355040a0c0a4f72646572206465736b3110300e06035504030c076d617463686572302a300506032b65700321001efe15bbc14111a5b20e33ff88b4901949e1df7db94620844e9f66e8e5b7c68fa38184308181301d0603551d0e04160414d9697d5981035322f88e644389ebfda325ab628b301f0603551d23041830168014d9697d5981035322f88e644389ebfda325ab628b300f0603551d130101ff040530030101ff302e0603551d1104273025820f6d6174636865722e6578616d706c6587047f000001860c7370696666653a2f2f612f62300506032b657003410059b8a3517c0641f2e29472cca721d6b0cdf194537961e371795783d2c64ae48c1d8280f29f0551e1eb591916f74fcdbd7b5fd49c34a77c7e44d4f63847d40903";

    fn certificate() -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&CERTIFICATE[at..at + 2], 16).unwrap();
        (0..CERTIFICATE.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn names_and_dates_of_a_certificate_are_read() {
        let der = certificate();
        let certified = certified(&der);
        assert_eq!(certified.names, ["matcher.example".into(), "spiffe://a/b".into()]);
        assert_eq!(Some(certified.ends_at_s * 1000), unix_ms_of("2054-04-15T22:02:46Z"));
        assert_eq!(
            validity_ms(&der),
            unix_ms_of("2026-11-28T22:02:46Z").zip(unix_ms_of("2054-04-15T22:02:46Z"))
        );
    }

    #[test]
    fn the_common_name_counts_only_where_there_is_no_other() {
        let mut der = certificate();
        // 2.5.29.17, alternative names, becomes 2.5.29.18, those of the issuer.
        let at = der.windows(3).position(|id| id == ALTERNATIVE_NAMES).unwrap();
        der[at + 2] = 0x12;
        assert_eq!(certified(&der).names, ["matcher".into()]);
        assert_ne!(certified(&der).fingerprint, certified(&certificate()).fingerprint);
    }

    #[test]
    fn what_is_cut_short_or_changed_is_not_there_and_never_a_panic() {
        let der = certificate();
        for end in 0..der.len() {
            let cut = certified(&der[..end]);
            assert_eq!((cut.names.len(), cut.ends_at_s), (0, 0));
            assert_eq!(validity_ms(&der[..end]), None);
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[at] ^= 1 << bit;
                certified(&changed);
                validity_ms(&changed);
            }
        }
    }
}
