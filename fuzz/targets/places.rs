//! Positions and times as clients write them, in queries, headers and commands: no panic, and what is taken for a place
//! is written back as it was.
#![no_main]
use courier::session::query::{Start, position, read};
use courier::session::{command, history};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Some(place) = position(&text) {
        let (epoch, offset) = text.split_once('-').expect("two parts");
        assert_eq!((format!("{:08x}", place.epoch), place.offset), (epoch.to_owned(), offset.parse().expect("digits")));
    }
    let (query, header) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(wanted) = read(query, Some(header), 8) {
        assert!(wanted.channels.len() <= 8);
        assert!(wanted.places.len() != 1, "one place is none of several");
    }
    if let Ok(page) = history::read(query) {
        assert!((1..=history::PAGE_MAX).contains(&page.limit));
    }
    for (since, after) in [(Some(query), None), (None, Some(query)), (Some(query), Some(header))] {
        match command::start(since, after) {
            Ok(Start::Live) => panic!("something was asked"),
            Ok(_) => assert!(since.is_none() || after.is_none()),
            Err(fault) => assert!(fault.0.contains("since") || fault.0.contains("after")),
        }
    }
});
