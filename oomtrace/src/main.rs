//! The `oomtrace` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    oomtrace::cli::main()
}
