//! Metrics over HTTP, as those see them who scrape them: real requests to a running server,
//! with the deaths of real recordings.
//!
//! | module | what it holds |
//! |---|---|
//! | `counts` | what is counted, against the records themselves |
//! | `http` | what the server answers, and what clients that mean no good can do |
//! | `deploy` | dashboard and rules name only what there is |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is a failed test"
)]

mod counts;
mod deploy;
mod http;
mod support;
