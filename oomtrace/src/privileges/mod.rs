//! What oomtrace keeps of its privileges once every hook is attached. They belong to threads,
//! not to the process (capabilities(7)), so that each thread lets go of what it does not need
//! as it begins its work, or, the main one, when nothing is left that needs more.
//!
//! | module | what it does |
//! |---|---|
//! | `facts` | asks this host, and knows what was asked for on the command line |
//! | `plan` | decides what each thread keeps and why; pure |
//! | `keep` | lets go, in the calling thread |
//! | `set` | sets of capabilities |

pub mod facts;
pub mod keep;
pub mod plan;
pub mod set;

pub use self::{
    facts::Facts,
    keep::Keep,
    plan::{Plan, Thread, decide},
    set::CapSet,
};
