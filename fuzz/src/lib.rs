//! What the fuzz targets share: recorded samples, and mutations that keep what is mutated
//! in shape, so that it gets past the first checks.
//!
//! | target | what is fed with what |
//! |---|---|
//! | `decoder` | the decoder, with a record of the kernel's |
//! | `recording` | the reader of recordings, and what it reads to the whole pipeline and both sinks |
//! | `text` | what makes text of other processes' bytes |
//! | `kallsyms` | the reader of kernel symbols |
//! | `kmsg` | the reader of the kernel's log |
//! | `btf` | the reader of the kernel's types |
//!
//! A target panics where a promise is broken, not only where the code under test panics.
//! There are no seeds: a mutator takes up a sample now and then.

pub mod blob;
pub mod dice;
pub mod lines;
pub mod record;
pub mod samples;
pub mod stream;
