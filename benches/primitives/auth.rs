//! What a token costs: known to the shard, and new.

use std::hint::black_box;
use std::sync::Arc;

use courier::auth::{Algorithm, Door, Gate, Key, Policy, mint};

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] =
    &[("auth.judge_cached", judge_cached), ("auth.judge_hs256", judge_hs256), ("auth.may_read", may_read)];

const PAYLOAD: &str = r#"{"user_id":"user_123","wallet_address":"9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin","iat":100,"exp":4000,"jti":"7f2c9e01"}"#;

fn gate_and_token() -> (Gate, String) {
    let key =
        Key::secret(Algorithm::Hs256, b"a secret of more than thirty-two bytes").expect("a good secret");
    let token = mint(&key, PAYLOAD).expect("it is a secret");
    (Gate::new(Policy { keys: vec![key], ..Policy::default() }), token)
}

fn judge_cached() -> Operation {
    let (gate, token) = gate_and_token();
    let mut door = Door::new(Arc::new(gate));
    Box::new(move || {
        black_box(door.judge(black_box(&token), 200).expect("a good token"));
    })
}

fn judge_hs256() -> Operation {
    let (gate, token) = gate_and_token();
    Box::new(move || {
        black_box(gate.judge(black_box(&token), 200).expect("a good token"));
    })
}

fn may_read() -> Operation {
    let (gate, token) = gate_and_token();
    let grants = gate.judge(&token, 200).expect("a good token");
    Box::new(move || {
        black_box(grants.may_read(black_box("user.user_123.orders")));
    })
}
