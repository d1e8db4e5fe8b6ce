//! `oomtrace why`: one stored death, told in full.

use std::{
    collections::HashMap,
    fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    args::{Format, WhyArgs},
    code, output,
    table::Table,
    unseen,
    wanted::Wanted,
    when,
};
use crate::{
    event::text::printable,
    identity::target::{KINDS, Target, unknown_kind},
    provenance::record::{Death, Gap, Restart},
    sinks::{
        html,
        story::{self, Look},
    },
    store::{Filter, Glance, Reader, Roles, Stored, now_ns},
    why::{Around, tell},
};

/// Of a page where nothing says how wide it may be.
const WIDTH: usize = 100;
/// So long the deaths of a target are looked at for its workloads.
const LOOKING: Duration = Duration::from_millis(25);
/// So many deaths after another are counted.
const AFTER: usize = 200;
/// So many workloads are listed to choose from.
const CHOICE: usize = 20;
/// So many earlier deaths are set beside one.
const EARLIER: usize = 1000;
/// Of the main processes that went with it, so many are asked for what ran again.
const MAINS: usize = 4;
/// So many that went with it are looked at.
const WITH_IT: usize = 1000;

pub(super) fn run(args: &WhyArgs) -> Result<ExitCode> {
    let page_to_stdout = args.html.as_deref() == Some(Path::new("-"));
    if page_to_stdout && args.output == Format::Json {
        output::complain(
            "--html - and --output json cannot both write to stdout\ndo: give the page a file",
        );
        return Ok(ExitCode::from(code::USAGE));
    }
    let reader = Reader::open(&args.store.path)?;
    let chosen = match &args.target {
        None => latest(&reader)?,
        Some(target) => match of(&reader, target)? {
            Choice::One(stored) => Some(*stored),
            Choice::None => None,
            Choice::Several(several) => {
                output::complain(&choose(&target.to_string(), &several));
                return Ok(ExitCode::from(code::FAILED));
            }
        },
    };
    let Some(stored) = chosen else {
        output::complain(&nothing(&reader, args.target.as_ref())?);
        return Ok(ExitCode::from(code::FAILED));
    };
    let death = stored.death().with_context(|| {
        format!(
            "death {} was written by a newer oomtrace and cannot be told by this one\n\
             do: `oomtrace show {}` prints it as it is stored",
            printable(&stored.id),
            printable(&stored.id)
        )
    })?;
    let surroundings = Surroundings::of(&reader, &death, stored.time_ns)?;
    if reader.was_cut() {
        output::complain(
            "very many deaths are like this one: not all of them were looked at, and earlier ones, \
             or the next, may be missing here",
        );
    }
    let story = tell(&death, &surroundings.around());
    if let Some(path) = &args.html {
        let mut page = Vec::new();
        html::write(&mut page, &story)?;
        if page_to_stdout {
            return output::print(&page);
        }
        write_page(path, &page)?;
    }
    match args.output {
        Format::Json => {
            let mut line = serde_json::to_vec(&story)?;
            line.push(b'\n');
            output::print(&line)
        }
        Format::Pretty => {
            let mut page = Vec::new();
            let look = Look {
                colour: output::colour(io::stdout().is_terminal()),
                width: output::width().unwrap_or(WIDTH),
            };
            story::write(&mut page, &story, look)?;
            if args.target.is_none() {
                page.extend_from_slice(since(&reader, &stored)?.as_bytes());
            }
            output::print(&page)
        }
    }
}

/// The latest death that ended a container or a unit; where there is none, the latest of all that
/// are not a runtime's own.
fn latest(reader: &Reader) -> Result<Option<Stored>> {
    if let Some(stored) = reader.latest_main()? {
        return Ok(Some(stored));
    }
    for roles in [Roles::Own, Roles::Workloads] {
        let filter = Filter {
            roles,
            ..Filter::default()
        };
        if let Some(stored) = reader.list(&filter, None, 1)?.pop() {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

enum Choice {
    None,
    One(Box<Stored>),
    Several(Several),
}

/// More than one workload, or more than one death.
struct Several {
    count: usize,
    /// The latest of each, no more than are shown.
    latest: Vec<Stored>,
}

/// Deaths that may be meant, the newest first.
struct Meant {
    found: Vec<Glance>,
    /// There was no time for those that are older than these.
    is_cut: bool,
}

/// What somebody points at.
fn of(reader: &Reader, wanted: &Wanted) -> Result<Choice> {
    match wanted {
        Wanted::Id(id) => Ok(by_id(reader.by_id(id, CHOICE)?)),
        Wanted::Pid(pid) => Ok(first(reader.of_pid(*pid, 1)?)),
        Wanted::Of(target) => of_target(reader, target),
    }
}

fn of_target(reader: &Reader, target: &Target) -> Result<Choice> {
    let typed = &target.to_string();
    // What went along with another says less than that one; but it may be what is asked for.
    let roles = [Roles::Own, Roles::Workloads];
    // Whatever is below one cgroup belongs together.
    if matches!(target, Target::Cgroup(_)) {
        for roles in roles {
            let found = reader.of_target(target, roles, 1)?;
            if !found.is_empty() {
                return Ok(first(found));
            }
        }
        return Ok(Choice::None);
    }
    let is_any = matches!(target, Target::Any(_));
    let until = Instant::now() + LOOKING;
    let mut filters: Vec<Filter> = roles
        .into_iter()
        .map(|roles| Filter {
            targets: vec![target.clone()],
            roles,
            ..Filter::default()
        })
        .collect();
    if is_any {
        filters.push(Filter {
            command: Some(typed.clone()),
            roles: Roles::Workloads,
            ..Filter::default()
        });
    }
    let mut meant = Meant {
        found: Vec::new(),
        is_cut: false,
    };
    for filter in &filters {
        let (found, is_all) = reader.glances(filter, until)?;
        if !found.is_empty() {
            meant = Meant {
                found,
                is_cut: !is_all,
            };
            break;
        }
    }
    if is_any {
        let mut more = reader.by_id(typed, CHOICE)?;
        if let Ok(pid) = typed.parse() {
            more.extend(reader.of_pid(pid, 1)?);
        }
        meant.found.extend(more.iter().map(Stored::glance));
        meant
            .found
            .sort_by_key(|one| std::cmp::Reverse(one.time_ns));
    }
    if meant.is_cut
        && let Some(oldest) = meant.found.last()
    {
        output::complain(&format!(
            "{:?} has very many deaths: only those since {} were looked at",
            printable(typed),
            when::local(oldest.time_ns)
        ));
    }
    by_workload(reader, meant.found)
}

fn first(found: Vec<Stored>) -> Choice {
    match found.into_iter().next() {
        Some(stored) => Choice::One(Box::new(stored)),
        None => Choice::None,
    }
}

fn by_id(found: Vec<Stored>) -> Choice {
    if found.len() > 1 {
        return Choice::Several(Several {
            count: found.len(),
            latest: found,
        });
    }
    first(found)
}

/// The latest of each, if there are several. Where a main process died within a moment of it,
/// that one: it says more than what ended with it.
fn by_workload(reader: &Reader, found: Vec<Glance>) -> Result<Choice> {
    const A_MOMENT_NS: i64 = 10_000_000_000;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut latest: Vec<Glance> = Vec::new();
    for glance in found {
        let Some(at) = places.get(&glance.workload) else {
            places.insert(glance.workload.clone(), latest.len());
            latest.push(glance);
            continue;
        };
        if let Some(later) = latest.get_mut(*at)
            && glance.is_main
            && !later.is_main
            && later.time_ns.saturating_sub(glance.time_ns) < A_MOMENT_NS
        {
            *later = glance;
        }
    }
    let mut shown = Vec::new();
    for glance in latest.iter().take(CHOICE) {
        shown.extend(reader.whole(glance)?);
    }
    Ok(if latest.len() > 1 {
        Choice::Several(Several {
            count: latest.len(),
            latest: shown,
        })
    } else {
        first(shown)
    })
}

fn choose(typed: &str, several: &Several) -> String {
    format!(
        "{} workloads or deaths may be meant by {:?}: choose one by its id, or say which kind it is \
         (container:, pod:, unit:, cgroup:, pid:, id:)\n{}",
        several.count,
        printable(typed),
        Table::of(&several.latest, now_ns())
            .with_whole_ids()
            .render(output::width(), false)
    )
}

fn nothing(reader: &Reader, wanted: Option<&Wanted>) -> Result<String> {
    let span = reader.span()?;
    let typed = wanted.map(ToString::to_string);
    let typed = typed.as_deref();
    let what = typed.map_or_else(String::new, |typed| format!(" of {:?}", printable(typed)));
    let unseen = unseen::note(reader, i64::MIN, typed)?;
    let mut unseen = unseen.map_or_else(String::new, |unseen| format!("\nbut: {unseen}"));
    if let Some(kind) = typed.and_then(unknown_kind) {
        unseen.insert_str(
            0,
            &format!("\nbut: {kind}: is no kind of target; there are {KINDS}"),
        );
    }
    Ok(match (span.first_ns, span.last_ns) {
        (Some(first_ns), Some(last_ns)) => format!(
            "no death{what} is stored\n\
             found: {} deaths from {} to {}{unseen}\n\
             do: look for it with `oomtrace list --all`",
            span.deaths,
            when::local(first_ns),
            when::local(last_ns)
        ),
        _ => format!(
            "no death{what} is stored, and no other{unseen}\n\
             do: let `oomtrace run` trace until it happens"
        ),
    })
}

/// What came after the latest main death.
fn since(reader: &Reader, stored: &Stored) -> Result<String> {
    let filter = Filter {
        since_ns: Some(stored.time_ns.saturating_add(1)),
        roles: Roles::Workloads,
        ..Filter::default()
    };
    let after = reader.list(&filter, None, AFTER)?;
    let Some(latest) = after.first() else {
        return Ok(String::new());
    };
    let count = match after.len() {
        AFTER => format!("{AFTER} or more"),
        count => count.to_string(),
    };
    Ok(format!(
        "\nafter it came {count} minor deaths, the latest {} ago: `oomtrace why id:{}`\n",
        when::age(now_ns().saturating_sub(latest.time_ns)),
        printable(&latest.id)
    ))
}

/// What is stored around a death.
struct Surroundings {
    cause: Option<Death>,
    with_it: Vec<Death>,
    before: Vec<Death>,
    restart: Option<Restart>,
    next: Option<Death>,
    unwatched: Vec<Gap>,
}

impl Surroundings {
    /// `time_ns`: when it died.
    fn of(reader: &Reader, death: &Death, time_ns: i64) -> Result<Self> {
        let readable = |all: Vec<Stored>| all.iter().filter_map(|one| one.death().ok()).collect();
        let cause = match &death.caused_by {
            Some(id) => reader.by_id(id, 1)?.pop(),
            None => None,
        };
        let with_it = reader.caused_by(&death.id, WITH_IT)?;
        let cause = cause.and_then(|cause| cause.death().ok());
        let with_it: Vec<Death> = readable(with_it);
        // It may be another death in the same place that ended all.
        let there = cause.iter().chain(&with_it);
        let there = there.filter(|other| other.victim.is_main() && is_same_place(death, other));
        let there = there.map(|other| &other.id).take(MAINS);
        let ids = std::iter::once(&death.id).chain(there);
        Ok(Self {
            restart: reader.restart(ids.map(String::as_str))?,
            cause,
            with_it,
            before: readable(reader.earlier(death, EARLIER)?),
            next: reader.next(death)?.and_then(|next| next.death().ok()),
            unwatched: reader.unwatched(time_ns, unseen::STRETCHES)?,
        })
    }

    fn around(&self) -> Around<'_> {
        Around {
            cause: self.cause.as_ref(),
            with_it: &self.with_it,
            before: &self.before,
            restart: self.restart.as_ref(),
            next: self.next.as_ref(),
            unwatched: &self.unwatched,
        }
    }
}

/// In the same container, or the same unit.
fn is_same_place(one: &Death, other: &Death) -> bool {
    let id = |death: &Death| {
        death
            .container
            .as_ref()
            .map(|container| container.id.clone())
    };
    match (id(one), id(other)) {
        (None, None) => one.unit.is_some() && one.unit == other.unit,
        (one, other) => one == other,
    }
}

fn write_page(path: &Path, page: &[u8]) -> Result<()> {
    // Arguments and names of others stand in it, as in the store.
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(page))
        .with_context(|| format!("{} cannot be written", path.display()))
}
