//! How long a connection that speaks HTTP may be silent.

use super::*;
use crate::session::tests_support::options;

#[test]
fn a_connection_that_was_refused_for_good_is_not_refused_again_for_its_silence() {
    let options = options();
    let mut publisher = Publisher::new(0);
    let half = b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    assert!(matches!(publisher.next(half, None, &mut Head::default(), &options, 0), Next::Wait));
    assert_eq!(publisher.silence(&options, false, options.body_us), Silence::Timeout);
    publisher.refuse(
        &Form::broken(),
        &Refusal::new(503, "Server overloaded", "later"),
        &Letterhead::undated(JSON),
    );
    assert_eq!(publisher.silence(&options, false, options.body_us), Silence::Idle);
}

/// The time ran from the request on: who read a long answer for so long was left with half of it.
#[test]
fn who_reads_long_answers_slowly_is_not_silent() {
    let options = options();
    let limit_us = options.body_us;
    let mut publisher = Publisher::new(0);
    publisher.out = b"a long answer".to_vec();
    publisher.sent_some(limit_us - 1);
    assert_eq!(publisher.silence(&options, false, limit_us), Silence::Until(2 * limit_us - 1));
    assert_eq!(publisher.silence(&options, false, 2 * limit_us - 1), Silence::Idle, "it took nothing more");
}

/// What was handed to a session of TLS may be owed to the peer all the same: it had as long as an idle connection has.
#[test]
fn who_does_not_take_what_the_session_owes_is_silent() {
    let options = options();
    let publisher = Publisher::new(0);
    assert_eq!(publisher.silence(&options, true, options.body_us), Silence::Idle);
    assert_eq!(publisher.silence(&options, false, options.body_us), Silence::Until(options.keep_alive_us));
}

#[test]
fn who_reads_answers_has_no_more_time_for_a_request_unless_that_is_not_read() {
    let options = options();
    let limit_us = options.body_us;
    let mut publisher = Publisher::new(0);
    let half = b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    assert!(matches!(publisher.next(half, None, &mut Head::default(), &options, 0), Next::Wait));
    publisher.out = b"a long answer".to_vec();
    publisher.sent_some(limit_us - 1);
    assert_eq!(publisher.silence(&options, false, limit_us), Silence::Timeout);
    publisher.out = vec![b'x'; ANSWER_BYTES_MAX + 1];
    assert_eq!(
        publisher.silence(&options, false, limit_us),
        Silence::Idle,
        "it is not read, and not its fault"
    );
    publisher.out.clear();
    publisher.since_us = limit_us - 1;
    assert_eq!(publisher.silence(&options, false, limit_us), Silence::Until(2 * limit_us - 1));
}
