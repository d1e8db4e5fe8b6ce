//! The command line: one file for each subcommand. What the user typed ([`args`]) and what
//! the program needs are two things; each subcommand turns the one into the other.

mod args;
mod detach;
mod doctor;
mod exec;
mod list;
mod live;
mod metrics;
mod notify;
mod output;
mod privileges;
mod record;
mod replay;
mod run;
mod runtimes;
mod scope;
mod shield;
mod show;
mod store;
mod table;
mod unseen;
mod user;
mod wanted;
mod when;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Cli, Command, EXIT_CODES};
use crate::{
    pipeline::PipelineError,
    probe::error::ProbeError,
    store::{StoreError, Trouble},
};

/// Exit codes of every subcommand but `exec`.
mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    /// Privileges or kernel features are lacking: `EX_NOPERM` of sysexits.h.
    pub(super) const LACKING: u8 = 77;
}

/// Runs the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    let started = std::time::Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no errors. `exec` keeps 2 for its command.
            let subcommand = std::env::args_os()
                .skip(1)
                .find(|word| !word.as_encoded_bytes().starts_with(b"-"));
            let code = match (error.use_stderr(), subcommand) {
                (false, _) => code::DONE,
                (true, Some(word)) if word == "exec" => exec::OWN_FAILURE,
                (true, _) => code::USAGE,
            };
            return ExitCode::from(code);
        }
    };
    output::init_log(cli.verbose, cli.quiet);
    let is_exec = matches!(cli.command, Command::Exec(_));
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.verbose, started),
        Command::Exec(args) => exec::run(&args, cli.verbose, cli.quiet, started),
        Command::List(args) => list::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Record(args) => record::run(&args, cli.verbose, cli.quiet, started),
        Command::Why(args) => why::run(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Completions { shell } => {
            let mut buffer = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "oomtrace", &mut buffer);
            output::print(&buffer)
        }
        Command::Man => manual().and_then(|page| output::print(&page)),
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has gone: nothing is wrong.
        Err(error) if !is_exec && is_broken_pipe(&error) => ExitCode::from(code::DONE),
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::from(if is_exec {
                exec::OWN_FAILURE
            } else {
                failure(&error)
            })
        }
    }
}

/// One page for the command and all its subcommands.
fn manual() -> anyhow::Result<Vec<u8>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let main = clap_mangen::Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    main.render_options_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        let name = format!("oomtrace {}", subcommand.get_name());
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        let mut section = Vec::new();
        let about = subcommand.get_about().map(ToString::to_string);
        section.extend_from_slice(format!("{}.\n", about.unwrap_or_default()).as_bytes());
        let part = clap_mangen::Man::new(subcommand.clone());
        part.render_synopsis_section(&mut section)?;
        part.render_options_section(&mut section)?;
        // Sections of a section.
        page.extend_from_slice(
            String::from_utf8_lossy(&section)
                .replace(".SH ", ".SS ")
                .as_bytes(),
        );
    }
    page.extend_from_slice(format!(".SH \"EXIT STATUS\"\n{EXIT_CODES}\n").as_bytes());
    Ok(page)
}

fn failure(error: &anyhow::Error) -> u8 {
    let store = error.downcast_ref::<StoreError>();
    if store.is_some_and(|error| error.trouble() == Trouble::Denied) {
        return code::LACKING;
    }
    match error.downcast_ref::<ProbeError>() {
        Some(error) if error.is_environment() => code::LACKING,
        _ => code::FAILED,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = match error.downcast_ref::<PipelineError>() {
        Some(PipelineError::Sink(error)) => Some(error),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
