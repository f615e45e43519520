//! Every way to give a key, and every way to get it wrong, over files that are only bytes.
use super::super::tests::{bad, good, sources};
use super::super::{Loaded, load};
use super::*;

/// Files by name; whatever is not here is missing.
fn file(name: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let bytes: &[u8] = match name {
        "ed.pem" => include_bytes!("../../auth/vectors/ed.pem"),
        "rsa.pem" => include_bytes!("../../auth/vectors/rsa2048.pem"),
        "weak.pem" => include_bytes!("../../auth/vectors/rsa1024.pem"),
        "secret" => b"a secret of more than thirty-two bytes\n",
        "set.json" => br#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "XYZ"}]}"#,
        "empty.json" => br#"{"keys": [{"kty": "XYZ"}]}"#,
        "api.json" => br#"{"keys": []}"#,
        "broken.json" => b"{\n \"keys\": 1}",
        "revoked" => b"user u1\nusers u2\n",
        _ => return Err("cannot be read: not there".to_owned()),
    };
    if bytes.len() > bytes_max { Err("too large".to_owned()) } else { Ok(bytes.to_owned()) }
}

fn loaded(text: &str) -> Result<Loaded, Vec<String>> {
    let sources = super::super::Sources { files: Some(file), ..sources(text, &[], &[]) };
    load(sources).map_err(|mistakes| mistakes.list.iter().map(ToString::to_string).collect())
}

#[test]
fn every_way_to_give_a_key_gives_one() {
    for (text, keys) in [
        ("secret: a secret of more than thirty-two bytes, written out", vec![Algorithm::Hs256]),
        ("{algorithm: HS512, secret_file: secret}", vec![Algorithm::Hs512]),
        ("{public_key_file: ed.pem}", vec![Algorithm::EdDsa]),
        ("{public_key_file: rsa.pem}", vec![Algorithm::Rs256]),
        ("{algorithm: PS384, public_key_file: rsa.pem}", vec![Algorithm::Ps384]),
        ("{jwks: set.json}", vec![Algorithm::Hs256]),
        (
            "{keys: [{algorithm: HS384, secret_file: secret}, {algorithm: EdDSA, public_key_file: ed.pem}]}",
            vec![Algorithm::Hs384, Algorithm::EdDsa],
        ),
    ] {
        let text = if text.starts_with('{') {
            format!("auth:\n  mode: required\n  jwt: {text}\n")
        } else {
            format!("auth:\n  mode: required\n  jwt:\n    {text}\n")
        };
        let policy = loaded(&text).unwrap_or_else(|told| panic!("{text}: {told:?}")).policy;
        assert_eq!(policy.keys.iter().map(Key::algorithm).collect::<Vec<_>>(), keys, "{text}");
    }
    let policy = loaded("auth: {mode: required, jwt: {jwks: \"https://id.example/set\", issuer: i}}\n")
        .unwrap()
        .policy;
    assert_eq!((policy.remotes.len(), &*policy.remotes[0].terms.issuer), (1, "i"));
    assert!(!policy.remotes[0].terms.secrets);
}

#[test]
fn mistake_in_a_file_is_told_where_its_name_stands() {
    for (text, told) in [
        (
            "jwt: {public_key_file: no.pem}",
            "1:31: auth.jwt.public_key_file: no.pem: cannot be read: not there",
        ),
        ("jwt: {public_key_file: weak.pem}", "1:31: auth.jwt.public_key_file: is an RSA key below 2048 bits"),
        (
            "jwt: {public_key_file: secret}",
            "1:31: auth.jwt.public_key_file: is no public key in PEM form (BEGIN PUBLIC KEY)",
        ),
        (
            "jwt: {algorithm: ES256, public_key_file: ed.pem}",
            "1:49: auth.jwt.public_key_file: is a kind of key that the algorithm does not use (ES256)",
        ),
        (
            "jwt: {algorithm: RS256, secret_file: rsa.pem}",
            "1:45: auth.jwt.secret_file: is a kind of key that the algorithm does not use (RS256)",
        ),
        (
            "jwt: {secret_file: rsa.pem}",
            "1:27: auth.jwt.secret_file: is a secret that is a public key, which anybody may have",
        ),
        (
            "jwt: {secret: x, secret_file: secret}",
            "1:38: auth.jwt.secret_file: is given beside secret: one of the two",
        ),
        (
            "jwt: {jwks: empty.json}",
            "1:20: auth.jwt.jwks: is a key set in which none of 1 keys can verify tokens",
        ),
        (
            "jwt: {jwks: \"http://id.example/set\"}",
            "1:20: auth.jwt.jwks: must be the path of a file or a URL that begins with https:// (http:// only on loopback), is the text \"http://id.example/set\"",
        ),
        (
            "jwt: {keys: [{algorithm: HS256}]}",
            "1:33: auth.jwt.keys[0].algorithm: needs secret, secret_file, public_key_file or jwks",
        ),
        (
            "jwt: {algorithm: none}",
            "1:25: auth.jwt.algorithm: must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, is none",
        ),
        (
            "api_keys_file: broken.json",
            "1:23: auth.api_keys_file: broken.json: invalid type: integer `1`, expected a sequence at line 2 column 10",
        ),
        (
            "revoked_file: revoked",
            "1:22: auth.revoked_file: revoked: line 2: must be `token ID`, `user ID` or `user ID before SECONDS`",
        ),
        (
            "rules: [{match: \"user.{user_id}x\", subscribe: true}]",
            "1:24: auth.rules[0].match: must be a channel pattern in which whole segments may be {claim}, such as user.{user_id}.**, is the text \"user.{user_id}x\"",
        ),
        (
            "rules: [{match: \"user.*\"}]",
            "1:24: auth.rules[0].match: says nothing: give subscribe or publish, or both",
        ),
        (
            "mode: required",
            "1:14: auth.mode: required lets nobody in without auth.jwt.secret (or secret_file, public_key_file, jwks, keys) or auth.api_keys_file",
        ),
    ] {
        let refused = loaded(&format!("auth: {{{text}}}\n")).map(|_| ()).unwrap_err();
        assert_eq!(refused, [format!("courier.yaml:{told}")], "{text}");
    }
}

#[test]
fn weak_secret_and_auth_without_effect_are_noted_and_no_secret_is_shown() {
    let Loaded { settings, notes, warnings, .. } = loaded("auth: {jwt: {secret: hush}}\n").unwrap();
    assert!(warnings.len() == 1 && warnings[0].starts_with("auth.jwt.secret has 4 bytes"), "{warnings:?}");
    assert!(notes.iter().any(|note| note.contains("have no effect")), "{notes:?}");
    let shown = format!("{settings:?} {:?} {notes:?} {warnings:?}", super::super::changes(&settings));
    assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");
}

#[test]
fn without_files_only_the_settings_are_judged() {
    assert_eq!(
        good("auth: {mode: required, api_keys_file: none.json}\n", &[], &[]).auth.mode,
        AuthMode::Required
    );
    assert!(bad("auth: required\n", &[], &[])[0].contains("lets nobody in"));
}
