//! One death told for a person: what happened when, what it was not and how that is known, and
//! how it stands beside the earlier ones of the same workload. Records in, words out.

mod earlier;
mod ruled_out;
mod timeline;
mod unseen;

use serde::Serialize;

pub use self::{
    earlier::Earlier,
    ruled_out::RuledOut,
    timeline::{Moment, offset},
    unseen::Unwatched,
};
use crate::provenance::record::{Death, Gap, Restart};

/// Version of the layout of what is told as JSON.
pub const SCHEMA: u32 = 1;

/// A death, told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "why")]
pub struct Story<'a> {
    pub schema: u32,
    pub death: &'a Death,
    /// In the order in which it happened.
    pub timeline: Vec<Moment>,
    /// What it could be taken for and was not.
    pub not: Vec<RuledOut>,
    /// The deaths of the same workload before this one. `None`: it is the first that is known.
    pub earlier: Option<Earlier>,
    /// Ids of deaths that this one led to, or that came with it.
    pub with_it: Vec<&'a str>,
    /// When what it ended ran again, if that was seen.
    pub restart: Option<&'a Restart>,
    /// Stretches after it of which another death of it may be missing.
    pub unwatched: Vec<Unwatched<'a>>,
}

/// What is known beside a death.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The death that led to it.
    pub cause: Option<&'a Death>,
    /// Deaths that it led to, and others in the same container at the same time.
    pub with_it: &'a [Death],
    /// Deaths of the same workload before it, the latest first.
    pub before: &'a [Death],
    /// When what it ended ran again.
    pub restart: Option<&'a Restart>,
    /// The next death of the same workload.
    pub next: Option<&'a Death>,
    /// Stretches after it of which deaths may be missing, the latest first.
    pub unwatched: &'a [Gap],
}

/// Tells a death.
#[must_use]
pub fn tell<'a>(death: &'a Death, around: &Around<'a>) -> Story<'a> {
    Story {
        schema: SCHEMA,
        death,
        timeline: timeline::of(death, around),
        not: ruled_out::of(death),
        earlier: earlier::of(death, around.before),
        with_it: around
            .with_it
            .iter()
            .map(|other| other.id.as_str())
            .collect(),
        restart: around.restart,
        unwatched: unseen::of(death, around.next, around.unwatched),
    }
}
