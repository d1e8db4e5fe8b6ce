//! What container runtimes know of their containers: in files, and over sockets.

mod api;
mod containerd;
mod cri;
mod docker;
pub(super) mod endpoints;
pub mod files;
mod grpc;
pub(super) mod sockets;

pub(super) use self::api::Known;
