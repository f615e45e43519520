//! Judges a whole run: one order per channel, no hole, nothing missing, and counts that add up.

use crate::client::Client;
use crate::model::{End, Model, Outcome};

pub fn judge(model: &mut Model, clients: &[Client]) {
    // A session whose events were all unacknowledged gets its places from another that shares one of them.
    for _ in 0..3 {
        place_all(model);
    }
    for session in 0..model.sessions.len() {
        nothing_is_missing(model, session);
    }
    counts_add_up(model, clients);
    numbers_are_used_once(model);
    publishers_order_is_kept(model);
}

/// Within one subscription positions follow one another without a hole, whoever acknowledged them.
fn place_all(model: &mut Model) {
    let mut known: Vec<Option<(u32, u64)>> = vec![None; model.events.len()];
    for ((_, epoch, offset), n) in &model.positions {
        known[*n] = Some((*epoch, *offset));
    }
    for session in 0..model.sessions.len() {
        let got = std::mem::take(&mut model.sessions[session].got);
        let (channel, client) = (model.sessions[session].channel, model.sessions[session].client);
        let anchor = got.iter().enumerate().find_map(|(at, n)| known[*n].map(|place| (at, place)));
        if let Some((at, (epoch, offset))) = anchor {
            for (index, n) in got.iter().enumerate() {
                let place = (epoch, (offset + index as u64).wrapping_sub(at as u64));
                let before = *known[*n].get_or_insert(place);
                assert_eq!(
                    before, place,
                    "client {client}: event {n} comes as number {index} and should be at another place"
                );
                model.place(*n, channel, place.0, place.1);
            }
        }
        model.sessions[session].got = got;
    }
}

/// What was acknowledged between the subscription and its end has come.
fn nothing_is_missing(model: &Model, session: usize) {
    let session = &model.sessions[session];
    let until = match session.end {
        End::Open | End::Stopped => u64::MAX,
        End::Left(step) => step,
        End::Abnormal => return,
    };
    for (n, event) in model.events.iter().enumerate() {
        let Outcome::Published { step, epoch, offset, .. } = event.outcome else { continue };
        if event.channel == session.channel && event.sent > Some(session.since) && step < until {
            assert!(
                session.got.contains(&n),
                "client {} subscribed to {} at step {} ({:?}) and did not get event {n} ({epoch:08x}-{offset}), \
                 published at {:?} and acknowledged at {step}",
                session.client,
                model.channels[session.channel].name,
                session.since,
                session.end,
                event.sent
            );
        }
    }
}

/// `clients_reached` is the number of subscribers that got the event, but for those whose queue was lost with them.
fn counts_add_up(model: &Model, clients: &[Client]) {
    for (n, event) in model.events.iter().enumerate() {
        let Outcome::Published { reached, .. } = event.outcome else { continue };
        let lost =
            clients.iter().filter(|client| client.asked[event.channel] && ended_badly(model, client)).count();
        assert!(
            event.got <= reached && reached <= event.got + lost as u32,
            "event {n}: {reached} clients reached, {} got it, {lost} may have lost it",
            event.got
        );
    }
}

fn ended_badly(model: &Model, client: &Client) -> bool {
    let lost = |session: &usize| model.sessions[*session].end == End::Abnormal;
    client.over && client.close_seen != Some(1001)
        || client.close_sent && client.close_seen != Some(1001)
        || client.sessions.iter().flatten().any(lost)
        || client.close_seen.is_some_and(|code| code != 1001)
}

/// Every number up to the highest belongs to an event whose publisher was told so, or was not told anything.
fn numbers_are_used_once(model: &Model) {
    let mut runs: Vec<((usize, u32), u64, u64)> = Vec::new();
    for (channel, epoch, offset) in model.positions.keys() {
        match runs.last_mut() {
            Some((run, count, highest)) if *run == (*channel, *epoch) => {
                (*count, *highest) = (*count + 1, *offset)
            }
            _ => runs.push(((*channel, *epoch), 1, *offset)),
        }
    }
    for ((channel, epoch), count, highest) in runs {
        let unknown = model.events.iter().filter(|event| {
            event.channel == channel && matches!(event.outcome, Outcome::Lost | Outcome::Open)
        });
        let (missing, unknown) = (highest - count, unknown.count() as u64);
        assert!(missing <= unknown, "epoch {epoch:08x}: {missing} numbers of no event, {unknown} unknown");
    }
}

/// What one connection publishes to a channel keeps its order.
fn publishers_order_is_kept(model: &Model) {
    for (later, event) in model.events.iter().enumerate() {
        let Outcome::Published { epoch, offset, .. } = event.outcome else { continue };
        let same =
            |other: &&crate::model::Event| (other.client, other.channel) == (event.client, event.channel);
        let before = model.events[..later].iter().rev().filter(same).find_map(|other| match other.outcome {
            Outcome::Published { epoch: e, offset, .. } if e == epoch => Some(offset),
            _ => None,
        });
        assert!(before.is_none_or(|before| before < offset), "event {later} overtook one of its publisher's");
    }
}
