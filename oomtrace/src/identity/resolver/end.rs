//! How a container ended. Its runtime notices a little later than the kernel, so it is asked
//! again until somebody says that it does not run any more.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::look::{Answers, STALE, Sources, in_words, unknown, whose};
use crate::{
    event::{
        container::{Ask, ContainerState},
        entry::Entry,
    },
    identity::{
        host,
        runtime::endpoints::{Heard, Patience},
    },
};

/// It is looked for so many milliseconds after it was asked for. Often at first: of a container
/// that is removed as soon as it ends (`docker run --rm`), nothing is left soon after.
const LOOK_AT: [u64; 12] = [20, 40, 60, 80, 110, 150, 200, 400, 900, 1800, 3600, 7000];
/// So long after it was first heard that it ended, it is asked for once more.
const SETTLE: Duration = Duration::from_millis(100);
/// What its runtime's API says after this has to do, that it runs still, say.
const IN_ALL: Duration = Duration::from_millis(1700);
/// Where nobody has answered: a machine may be busy.
const AT_MOST: Duration = Duration::from_millis(6900);
/// The clock that runtimes write by may have been set a little.
const SLACK_NS: i64 = 1_000_000_000;

impl Sources {
    pub(super) async fn end(&self, answers: &Answers, since_ns: u64) {
        let ask = &answers.ask;
        let began = Instant::now();
        let mut said = Said::default();
        for at in LOOK_AT {
            sleep_until(began + Duration::from_millis(at)).await;
            said = self.look_for_end(ask, since_ns).await;
            if said.is_over() {
                said = self.settle(said, ask, since_ns).await;
                break;
            }
            let most = if said.by_api.is_some() {
                IN_ALL
            } else {
                AT_MOST
            };
            if began.elapsed() > most {
                break;
            }
        }
        let why = in_words(&said.why);
        let entry = match said.best() {
            Some(mut state) => {
                state.boottime_ns = host::now().boottime_ns;
                state.since_ns = since_ns;
                Entry::ContainerState(state)
            }
            None => unknown(&ask.id, true, why),
        };
        answers.tell_last(entry).await;
    }

    /// Runtimes hear of an exit and of the OOM killer by different ways: what they say just
    /// after the end may not be their last word. It is what counts if they say nothing more.
    async fn settle(&self, first: Said, ask: &Ask, since_ns: u64) -> Said {
        if first.oom_killed() == Some(true) {
            return first;
        }
        tokio::time::sleep(SETTLE).await;
        let then = self.look_for_end(ask, since_ns).await;
        if then.is_over() { then } else { first }
    }

    async fn look_for_end(&self, ask: &Ask, since_ns: u64) -> Said {
        self.look_around(STALE).await;
        let runtime = whose(ask, self.cache.facts(&ask.id).as_ref());
        let (files, asked) = (Arc::clone(&self.files), ask.clone());
        let now_ns = host::now().boottime_ns;
        let (read, heard) = tokio::join!(
            self.reads.run(move || files.end(&asked, since_ns, now_ns)),
            self.endpoints.ask(ask, runtime.as_deref(), Patience::Much),
        );
        let mut said = Said::by_apis(heard, since_on_wall_clock(since_ns));
        match read {
            Ok(Ok(Some(state))) => said.by_files = Some(state),
            Ok(Ok(None)) => said.why.push("no files of a runtime tell of it".to_owned()),
            Ok(Err(error)) => said.why.push(error.to_string()),
            Err(why) => said.why.push(format!("files: {why}")),
        }
        said
    }
}

/// A moment since boot on the clock that runtimes write by, with some slack; for 0, of which
/// nothing is known, before all others.
fn since_on_wall_clock(since_ns: u64) -> i64 {
    if since_ns == 0 {
        return i64::MIN;
    }
    let now = host::now();
    let ago_ns = now.boottime_ns.saturating_sub(since_ns);
    now.realtime_ns
        .saturating_sub(i64::try_from(ago_ns).unwrap_or(i64::MAX))
        .saturating_sub(SLACK_NS)
}

/// What is said of a container's end.
#[derive(Debug, Default)]
struct Said {
    by_api: Option<ContainerState>,
    by_files: Option<ContainerState>,
    why: Vec<String>,
    /// An API that may know more did not answer.
    is_partial: bool,
}

impl Said {
    fn by_apis(heard: Heard, since_ns: i64) -> Self {
        let mut said = Self {
            why: heard.why,
            is_partial: heard.is_partial,
            ..Self::default()
        };
        for known in heard.known {
            let is_earlier = known.ended_ns.is_some_and(|ended_ns| ended_ns < since_ns);
            if known.has_ended() && is_earlier {
                let source = known.state.source;
                said.why
                    .push(format!("{source}: it tells of an earlier run"));
                continue;
            }
            // Who says that it ended knows more than who has not noticed yet.
            let is_better = |old: &ContainerState| {
                old.running.is_none() || (old.running == Some(true) && known.has_ended())
            };
            if said.by_api.as_ref().is_none_or(is_better) {
                said.by_api = Some(known.state);
            }
        }
        said
    }

    /// Somebody says that it has ended, and no API that it runs, or nothing at all: such a one
    /// is only late.
    fn is_over(&self) -> bool {
        let api = self.by_api.as_ref().and_then(|state| state.running);
        let files = self.by_files.as_ref().map(|state| state.running);
        match api {
            Some(running) => !running,
            None => !self.is_partial && files.is_some_and(|running| running != Some(true)),
        }
    }

    fn oom_killed(&self) -> Option<bool> {
        let said = [&self.by_api, &self.by_files];
        said.into_iter()
            .flatten()
            .find_map(|state| state.oom_killed)
    }

    /// The APIs know better than the files, as far as they know.
    fn best(self) -> Option<ContainerState> {
        match (self.by_api, self.by_files) {
            (Some(api), Some(files)) if api.running.is_none() => Some(files),
            (api, files) => api.or(files),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::runtime::Known;

    fn state(running: Option<bool>, words: &str) -> ContainerState {
        ContainerState {
            running,
            words: words.to_owned(),
            ..ContainerState::default()
        }
    }

    fn heard(running: Option<bool>, words: &str, ended_ns: Option<i64>) -> Heard {
        let known = Known {
            state: state(running, words),
            ended_ns,
            ..Known::default()
        };
        Heard {
            known: vec![known],
            ..Heard::default()
        }
    }

    #[test]
    fn an_api_beats_files_and_one_that_is_late_is_waited_for() {
        let mut said = Said::by_apis(heard(Some(true), "api runs", None), 0);
        said.by_files = Some(state(Some(false), "files ended"));
        assert!(!said.is_over());
        let mut said = Said::by_apis(heard(Some(false), "api ended", Some(5)), 0);
        said.by_files = Some(state(Some(false), "files ended"));
        assert!(said.is_over());
        assert_eq!(said.best().unwrap().words, "api ended");
    }

    #[test]
    fn an_api_that_does_not_know_leaves_it_to_files() {
        let mut said = Said::by_apis(heard(None, "no task", None), 0);
        assert!(!said.is_over());
        said.by_files = Some(state(Some(false), "files ended"));
        assert!(said.is_over());
        assert_eq!(said.best().unwrap().words, "files ended");
    }

    #[test]
    fn an_api_that_does_not_answer_is_asked_again() {
        let silent = Heard {
            is_partial: true,
            ..Heard::default()
        };
        let mut said = Said::by_apis(silent, 0);
        said.by_files = Some(state(Some(false), "files ended"));
        assert!(!said.is_over());
        assert_eq!(said.best().unwrap().words, "files ended");
    }

    #[test]
    fn the_end_of_an_earlier_run_is_not_this_one() {
        let said = Said::by_apis(heard(Some(false), "before", Some(5)), 6);
        assert!(!said.is_over());
        assert!(said.why.iter().any(|why| why.contains("earlier run")));
        assert_eq!(said.best(), None);
    }
}
