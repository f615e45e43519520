//! The way from the hub to the sockets.

use super::super::driver::Driver;
use super::connection::Connection;
use crate::hub::{Outlet, Sent};
use crate::stdx::slab::Slab;
use std::io::IoSlice;

/// Sends for the hub: its members are the shard's connections.
pub(super) struct Sockets<'s, D: Driver> {
    pub driver: &'s mut D,
    pub connections: &'s Slab<Connection<D::Socket>>,
}

impl<D: Driver> Outlet for Sockets<'_, D> {
    fn send(&mut self, member: u32, bytes: &[u8]) -> Sent {
        match self.connections.at(member) {
            Some(connection) => self.driver.send(&connection.socket, bytes),
            None => Sent::Gone,
        }
    }

    fn send_all(&mut self, member: u32, slices: &[IoSlice<'_>]) -> Sent {
        match self.connections.at(member) {
            Some(connection) => self.driver.send_all(&connection.socket, slices),
            None => Sent::Gone,
        }
    }

    fn look(&self, member: u32) -> bool {
        self.connections.at(member).is_some()
    }
}
