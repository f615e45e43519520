//! The words spoken on a socket, one file per dialect.

pub mod courier;
