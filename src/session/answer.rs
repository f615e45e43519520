//! How answers to requests are written: what the request wants of their form, and what browsers are told with them.

use super::origin::Allowed;
use super::quota::{EXPOSED, Shown};
use super::{Options, Refusal};
use crate::wire::http::{self, Head, Letterhead, Response};

/// How an answer is to be written.
#[derive(Clone, Debug)]
pub struct Form {
    /// HTTP/1.`minor`.
    pub minor: u8,
    /// The connection ends after it.
    pub close: bool,
    /// Without the body (HEAD).
    pub head_only: bool,
    /// Refusals as problem documents.
    pub problem: bool,
    /// The pages that may read it.
    pub origin: Option<Allowed>,
    /// A browser may show it: the answer to a GET.
    pub page: bool,
    /// What a limit leaves to a publisher, where there is one.
    pub quota: Option<Box<Shown>>,
}

impl Form {
    /// As the request wants it.
    #[inline]
    pub fn of(head: &Head<'_>, options: &Options) -> Form {
        let problem = head.accept.is_some_and(|accept| accept.contains("application/problem+json"));
        Form {
            minor: head.minor,
            close: !head.keep_alive,
            head_only: head.method == http::Method::Head,
            problem,
            origin: head.origin.and_then(|origin| options.origins.allow(origin)),
            page: matches!(head.method, http::Method::Get | http::Method::Head),
            quota: None,
        }
    }

    /// For what never became a request.
    pub fn broken() -> Form {
        Form {
            minor: 1,
            close: true,
            head_only: false,
            problem: false,
            origin: None,
            page: false,
            quota: None,
        }
    }
}

/// Most answers are of this type, and [`Letterhead`]s say so.
pub const JSON: &str = "application/json";

/// An answer, but for how it is written.
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Of the body.
    pub content_type: Option<&'a str>,
    /// Further header fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// What a browser that shows an answer is told: it is what its type says, nobody frames it, it loads nothing and asks
/// nobody but this server, and the address, which may hold a token, is not passed on. Nobody on the way keeps it for others:
/// what it says depends on who asks, and a cache knows that of `Authorization` alone, not of a cookie or `?token=`.
pub const PAGE_FIELDS: [(&str, &str); 5] = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
];

/// Writes the answer that nearly all requests get: 200 and JSON.
pub(super) fn write_json(form: &Form, body: &[u8], letterhead: &Letterhead, out: &mut Vec<u8>) {
    let usual = form.minor == 1 && !(form.close || form.head_only || form.page);
    if usual && form.origin.is_none() && form.quota.is_none() {
        return letterhead.answer(body, out);
    }
    write(form, &Answer { status: 200, content_type: Some(JSON), fields: &[], body }, letterhead, out);
}

#[inline(never)]
pub(super) fn write(form: &Form, answer: &Answer<'_>, letterhead: &Letterhead, out: &mut Vec<u8>) {
    let mut more;
    let fields = match (&form.origin, form.page, &form.quota) {
        (None, false, None) => answer.fields,
        (origin, page, quota) => {
            more = answer.fields.to_vec();
            more.extend(origin.iter().flat_map(Allowed::fields));
            more.extend(PAGE_FIELDS.iter().filter(|_| page));
            if let Some(quota) = quota {
                more.extend(quota.fields());
                more.extend(origin.iter().map(|_| EXPOSED));
            }
            &more[..]
        }
    };
    let response = Response {
        status: answer.status,
        content_type: answer.content_type,
        fields,
        body: answer.body,
        close: form.close,
        minor: form.minor,
        head_only: form.head_only,
        date: letterhead.date(),
    };
    response.write(out);
}

pub(super) fn write_refusal(form: &Form, refusal: &Refusal, letterhead: &Letterhead, out: &mut Vec<u8>) {
    let fields: Vec<(&str, &str)> = refusal.fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let content_type = Some(Refusal::content_type(form.problem));
    let body = refusal.body(form.problem);
    let answer = Answer { status: refusal.status, content_type, fields: &fields, body: &body };
    write(form, &answer, letterhead, out);
}

/// An answer of another moment.
pub enum Settled {
    /// 200 with this body.
    Json(Vec<u8>),
    /// Another status with a JSON body.
    Status(u16, Vec<u8>),
    /// Not done after all.
    Refused(Refusal),
}

impl Settled {
    pub(super) fn write(&self, form: &Form, letterhead: &Letterhead, out: &mut Vec<u8>) {
        match self {
            Settled::Json(body) => write_json(form, body, letterhead, out),
            Settled::Status(status, body) => {
                let answer = Answer { status: *status, content_type: Some(JSON), fields: &[], body };
                write(form, &answer, letterhead, out);
            }
            Settled::Refused(refusal) => write_refusal(form, refusal, letterhead, out),
        }
    }
}
