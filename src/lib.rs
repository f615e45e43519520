//! Courier: a real-time event hub.
pub mod admin;
pub mod cli;
pub mod config;
pub mod event;
pub mod hub;
pub mod mailbox;
pub mod metrics;
pub mod runtime;
pub mod server;
pub mod session;
pub mod stdx;
pub mod wire;
