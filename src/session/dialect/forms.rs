//! The forms that an event may take on its way out, by the numbers that the hub knows them by.

use super::text::write_text_frame;
use super::{compressed, freqsearch, router, v1};
use crate::event::{Channel, Event, FORMS_MAX, Form, POSITION_BYTES_MAX, Position, Renderer, Renderers};
use crate::session::cloudevents;
use crate::wire::sse::write_event;

/// In the envelope of `courier.v1`.
pub const V1: Form = Form(1);
/// In the router's envelope, with the subscription's id to be spliced in.
pub const ROUTER: Form = Form(2);
/// In FreqSearch's envelope.
pub const FREQSEARCH: Form = Form(3);
/// As a server-sent event.
pub const SSE: Form = Form(4);
/// As a CloudEvent.
pub const CLOUD: Form = Form(5);
/// As a CloudEvent in the envelope of `courier.v1`.
pub const V1_CLOUD: Form = Form(6);
/// As a CloudEvent in a server-sent event.
pub const SSE_CLOUD: Form = Form(7);

/// In the router's envelope, without its beginning, which says which try it is ([`router::heading`]).
pub const ROUTER_ACKED: Form = Form(11);

/// [`Form::RAW`], compressed above the threshold.
pub const RAW_Z: Form = Form(8);
/// [`V1`], compressed above the threshold.
pub const V1_Z: Form = Form(9);
/// [`FREQSEARCH`], compressed above the threshold.
pub const FREQSEARCH_Z: Form = Form(10);

/// The form for a client who takes compressed frames; the same where there is none.
pub fn compressed(form: Form) -> Form {
    match form {
        Form::RAW => RAW_Z,
        V1 => V1_Z,
        FREQSEARCH => FREQSEARCH_Z,
        other => other,
    }
}

// An event keeps room for no more.
const _: () = assert!(TABLE.len() <= FORMS_MAX);

/// By [`Form`]'s number.
pub const RENDERERS: Renderers = &TABLE;

static TABLE: [Renderer; 12] = [
    render_raw,
    v1::render,
    router::render,
    freqsearch::render,
    render_sse,
    render_cloud,
    render_v1_cloud,
    render_sse_cloud,
    compressed::render_raw,
    compressed::render_v1,
    compressed::render_freqsearch,
    router::render_acked,
];

/// Never called by an event, which is a frame already; here so that the table has no hole.
fn render_raw(event: &Event, _: &Channel, _: Position, out: &mut Vec<u8>) -> Option<u32> {
    out.extend_from_slice(event.frame());
    None
}

fn render_cloud(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_text_frame(0, out, |out| cloudevents::write(event, channel, position, out));
    None
}

fn render_v1_cloud(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_text_frame(0, out, |out| {
        v1::write_envelope(channel, position, out, |out| cloudevents::write(event, channel, position, out));
    });
    None
}

fn render_sse(event: &Event, _: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_sse(event, position, event.text(), out)
}

fn render_sse_cloud(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    let mut data = Vec::with_capacity(event.text().len() + 256);
    cloudevents::write(event, channel, position, &mut data);
    write_sse(event, position, std::str::from_utf8(&data).expect("JSON made of JSON"), out)
}

fn write_sse(event: &Event, position: Position, data: &str, out: &mut Vec<u8>) -> Option<u32> {
    let mut id = Vec::with_capacity(POSITION_BYTES_MAX);
    position.write(&mut id);
    write_event(std::str::from_utf8(&id).expect("digits"), event.kind(), data, out);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;
    use serde_json::{Value, json};

    const TEXT: &str = r#"{"type":"t", "n":1.0}"#;

    fn rendered(form: Form) -> Vec<u8> {
        let event = Event::new(TEXT, &Facts::read(TEXT).unwrap(), None, 0);
        let position = Position { epoch: 0xab, offset: 7 };
        let mut out = Vec::new();
        RENDERERS[usize::from(form.0)](&event, &Channel::parse("a").unwrap(), position, &mut out);
        out
    }

    /// The payload of a frame, as JSON.
    fn payload(form: Form) -> Value {
        let frame = rendered(form);
        assert_eq!(frame[0], 0x81);
        let header = if frame[1] == 126 { 4 } else { 2 };
        serde_json::from_slice(&frame[header..]).expect("a payload is JSON")
    }

    #[test]
    fn each_form_stands_at_its_number() {
        let event: Value = serde_json::from_str(TEXT).unwrap();
        assert_eq!(payload(Form::RAW), event);
        assert_eq!(payload(V1), json!({"type":"event","channel":"a","id":"000000ab-7","event":event}));
        assert_eq!(payload(FREQSEARCH)["data"], event);
        assert_eq!(payload(CLOUD)["data"], event);
        assert_eq!(payload(CLOUD)["id"], "000000ab-7");
        assert_eq!(payload(V1_CLOUD)["event"], payload(CLOUD));
        assert!(rendered(ROUTER).ends_with(b",\"subscription_id\":\"\"}"));
    }

    #[test]
    fn server_sent_events_carry_position_type_and_event() {
        let text = format!("id: 000000ab-7\nevent: t\ndata: {TEXT}\n\n");
        assert_eq!(rendered(SSE), text.as_bytes());
        let cloud = String::from_utf8(rendered(SSE_CLOUD)).unwrap();
        let data = cloud.strip_prefix("id: 000000ab-7\nevent: t\ndata: ").unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), payload(CLOUD));
    }

    #[test]
    fn a_compressed_form_below_the_threshold_is_the_plain_one_and_above_it_shrinks() {
        let (channel, position) = (Channel::parse("a").unwrap(), Position { epoch: 0xab, offset: 7 });
        let long = format!(r#"{{"type":"t","x":"{}"}}"#, "abc ".repeat(1000));
        for plain in [Form::RAW, V1, FREQSEARCH] {
            assert_eq!(rendered(compressed(plain)), rendered(plain));
            let event = Event::new(&long, &Facts::read(&long).unwrap(), None, 0);
            let mut out = Vec::new();
            RENDERERS[usize::from(compressed(plain).0)](&event, &channel, position, &mut out);
            // The first reserved bit marks a compressed message (RFC 7692 6).
            assert_eq!(out[0], 0xc1);
            assert!(out.len() < long.len() / 10);
        }
        assert_eq!(compressed(ROUTER), ROUTER);
    }
}
