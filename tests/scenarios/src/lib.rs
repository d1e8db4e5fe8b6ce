//! What tests of the tracer have in common: starting it and reading its records, holding a
//! death against what is wanted of it, counting cases.

pub mod check;
pub mod death;
mod kept;
pub mod output;
pub mod run;
pub mod tally;
pub mod tracer;
mod until_end;
