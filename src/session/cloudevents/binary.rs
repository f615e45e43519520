//! CloudEvents in binary mode (HTTP binding 3.1): attributes in header fields, data in the body.

use super::media_type;
use crate::session::Refusal;
use crate::session::admission::field_faults;
use crate::wire::http::percent_decode;
use data_encoding::BASE64;
use serde::de::IgnoredAny;
use serde_json::json;
use std::borrow::Cow;

/// Makes the JSON format of a CloudEvent in binary mode: its attributes from the fields whose names begin with `ce-`
/// (others are not looked at), its data from the body. What the attributes say is checked by [`super::admit`].
///
/// # Errors
/// 400 that names every field that is no attribute, or `/data` when the body is not the JSON that it is said to be.
pub fn binary<'h>(
    fields: impl Iterator<Item = (&'h str, &'h [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<String, Refusal> {
    let mut event = String::from("{");
    let mut names: Vec<String> = Vec::new();
    let mut faults: Vec<(String, String)> = Vec::new();
    for (field, value) in fields {
        let lower = field.to_ascii_lowercase();
        let Some(name) = lower.strip_prefix("ce-") else { continue };
        match attribute(name, value, &names) {
            Ok(value) => {
                push_member(&mut event, name, &json!(value).to_string());
                names.push(name.to_owned());
            }
            Err(why) => faults.push((format!("/{lower}"), why.to_owned())),
        }
    }
    if !faults.is_empty() {
        let faults: Vec<(&str, String)> = faults.iter().map(|(at, why)| (at.as_str(), why.clone())).collect();
        return Err(field_faults("Invalid CloudEvent", &faults));
    }
    if let Some(content_type) = content_type {
        push_member(&mut event, "datacontenttype", &json!(content_type).to_string());
    }
    if !body.is_empty() {
        let (name, data) = data(content_type, body)?;
        push_member(&mut event, name, &data);
    }
    event.push('}');
    Ok(event)
}

fn push_member(object: &mut String, name: &str, json: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    object.push_str(&json!(name).to_string());
    object.push(':');
    object.push_str(json);
}

/// The value of one attribute (HTTP binding 3.1.3).
fn attribute(name: &str, value: &[u8], names: &[String]) -> Result<String, &'static str> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err("An attribute's name is made of letters and digits");
    }
    if matches!(name, "datacontenttype" | "data") {
        return Err("It is told by Content-Type and the body");
    }
    if names.iter().any(|known| known == name) {
        return Err("It is said twice");
    }
    let value = std::str::from_utf8(value).map_err(|_| "It is not UTF-8")?;
    let mut scratch = Vec::new();
    let decoded = percent_decode(&unquoted(value), &mut scratch).map(str::to_owned);
    decoded.ok_or("It is not percent-encoded UTF-8")
}

/// Senders of older versions quote a value (RFC 9110 5.6.4).
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    let (mut text, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// The name and the JSON of the member that holds the data (JSON format 3.1.1).
fn data(content_type: Option<&str>, body: &[u8]) -> Result<(&'static str, String), Refusal> {
    let media = content_type.map(media_type);
    let text = std::str::from_utf8(body).ok();
    let is_json = media.as_deref().is_none_or(|media| media.ends_with("/json") || media.ends_with("+json"));
    if is_json {
        let valid = text.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        match (valid, &media) {
            (Some(text), _) => return Ok(("data", text.trim().to_owned())),
            (None, Some(media)) => {
                let why = format!("The body is not valid JSON, as {media} says");
                return Err(Refusal::new(400, "Invalid JSON", &why).at("/data", &why));
            }
            (None, None) => {}
        }
    }
    let is_text = media.is_some_and(|media| {
        media.starts_with("text/") || media.ends_with("/xml") || media.ends_with("+xml")
    });
    Ok(match text.filter(|_| is_text) {
        Some(text) => ("data", json!(text).to_string()),
        None => ("data_base64", format!("\"{}\"", BASE64.encode(body))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EXAMPLES, admitted};
    use super::*;
    use serde_json::Value;

    fn made(fields: &[(&str, &str)], content_type: Option<&str>, body: &[u8]) -> Result<Value, Refusal> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let text = binary(fields, content_type, body)?;
        admitted(&text)?;
        Ok(serde_json::from_str(&text).expect("it was admitted"))
    }

    fn example(id: &'static str) -> [(&'static str, &'static str); 7] {
        [
            ("Host", "webhook.example.com"),
            ("ce-specversion", "1.0"),
            ("Ce-Type", "com.example.someevent"),
            ("CE-SOURCE", "/mycontext"),
            ("ce-id", id),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-comexampleextension1", "value"),
        ]
    }

    /// JSON format 3.2: the same events in binary mode.
    #[test]
    fn the_specifications_examples_become_their_json_format() {
        for (number, id, content_type, body) in [
            (1, "B234-1234-1234", "application/xml", "<much wow=\"xml\"/>"),
            (
                2,
                "C234-1234-1234",
                "application/json",
                r#"{ "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }"#,
            ),
            (3, "D234-1234-1234", "application/json", "\"I'm just a string\""),
        ] {
            let made = made(&example(id), Some(content_type), body.as_bytes()).unwrap();
            let mut expected: Value = serde_json::from_str(EXAMPLES[number]).unwrap();
            let object = expected.as_object_mut().unwrap();
            object.retain(|name, value| !value.is_null() && name != "comexampleothervalue");
            object.insert("datacontenttype".to_owned(), content_type.into());
            assert_eq!(made, expected);
        }
        let made =
            made(&example("A"), Some("application/vnd.apache.thrift.binary"), b"\x00\xff raw").unwrap();
        assert_eq!(made["data_base64"], "AP8gcmF3");
    }

    #[test]
    fn json_goes_in_as_it_stands() {
        let fields = example("1");
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let text = binary(fields, Some("application/vnd.x+json"), b" {\"n\": 1.10} ").unwrap();
        assert!(text.ends_with(r#""data":{"n": 1.10}}"#), "{text}");
    }

    #[test]
    fn the_data_is_told_by_its_media_type() {
        for (content_type, body, name, value) in [
            (Some("text/plain; charset=utf-8"), &b"a \"b\"\n"[..], "data", Value::from("a \"b\"\n")),
            (Some("text/plain"), b"\xff", "data_base64", Value::from("/w==")),
            (None, b"[1]", "data", json!([1])),
            (None, b"[1", "data_base64", Value::from("WzE=")),
            (Some("image/png"), b"abc", "data_base64", Value::from("YWJj")),
        ] {
            let event = made(&example("1"), content_type, body).unwrap();
            assert_eq!(event[name], value, "{content_type:?}");
        }
        let event = made(&example("1"), None, b"").unwrap();
        assert!(event.get("data").is_none() && event.get("datacontenttype").is_none());
        let refusal = made(&example("1"), Some("application/json"), b"{").unwrap_err();
        assert_eq!((refusal.status, refusal.error), (400, "Invalid JSON"));
    }

    /// HTTP binding 3.1.3.2.
    #[test]
    fn values_are_unquoted_and_percent_decoded_once() {
        for (value, decoded) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("\"a \\\"b\\\\ c\"", "a \"b\\ c"),
            ("%2520", "%20"),
            ("%e2%82%ac", "€"),
        ] {
            let mut fields = example("1").to_vec();
            fields.push(("ce-subject", value));
            assert_eq!(made(&fields, None, b"").unwrap()["subject"], decoded, "{value}");
        }
    }

    #[test]
    fn every_field_that_is_no_attribute_is_named() {
        for (field, value) in [
            ("ce-", "x"),
            ("ce-a-b", "x"),
            ("ce-a_b", "x"),
            ("ce-datacontenttype", "x"),
            ("ce-data", "x"),
            ("CE-ID", "twice"),
            ("ce-subject", "%C0%A0"),
            ("ce-subject", "%zz"),
        ] {
            let mut fields = example("1").to_vec();
            fields.push((field, value));
            let refusal = made(&fields, None, b"").unwrap_err();
            assert_eq!((refusal.status, refusal.error), (400, "Invalid CloudEvent"), "{field}");
            let named = refusal.facts["validation_errors"][0]["field"].as_str().unwrap();
            assert_eq!(named, format!("/{}", field.to_ascii_lowercase()));
        }
        let refusal = made(&[("ce-specversion", "1.0")], None, b"").unwrap_err();
        assert_eq!(refusal.facts["validation_errors"].as_array().unwrap().len(), 3);
    }
}
