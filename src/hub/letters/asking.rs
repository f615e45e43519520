//! What is asked of dead letters from any shard, and answered by the one that has them: a page, a purge, a retry. For a
//! retry the letters are handed to the runtime, which publishes them as anybody else does and says how that went.

use super::store::{Letter, Letters};
use super::{Dead, Hub};
use crate::event::{Cause, Channel, DEAD_LETTERS, Event, Position};
use crate::hub::recall::Reader;
use crate::hub::{LogFrom, Mail, Origin};
use serde::Deserialize;

/// Letters that one retry publishes: about a millisecond of one turn. The answer says how many are left.
const RETRY_MAX: usize = 256;
/// Bytes of one page at most, but at least one letter; what is left out comes with `after`.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Letters that one event tells to be gone.
const GONE_MAX: usize = 1_000;

/// Which letters are meant: those for which all that is given holds.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// This one.
    pub id: Option<Position>,
    /// Of events of this channel.
    pub channel: Option<Channel>,
    /// For this reason.
    pub cause: Option<Cause>,
    /// That died before this time, in Unix milliseconds.
    pub before_ms: Option<u64>,
}

impl LetterFilter {
    fn takes(&self, letter: &Letter) -> bool {
        self.id.is_none_or(|id| letter.id == id)
            && self.channel.as_ref().is_none_or(|channel| letter.channel == *channel)
            && self.cause.is_none_or(|cause| letter.cause == cause)
            && self.before_ms.is_none_or(|before_ms| letter.told.at_ms() < before_ms)
    }

    fn ids(&self, letters: &Letters) -> Vec<Position> {
        letters.behind(0).filter(|letter| !letter.taken && self.takes(letter)).map(|l| l.id).collect()
    }
}

/// What is to be done with letters.
#[derive(Clone, Debug)]
pub enum LetterAsk {
    /// Show them, oldest first.
    List {
        /// Which.
        filter: LetterFilter,
        /// Behind this one.
        after: Option<Position>,
        /// At most so many.
        limit: usize,
    },
    /// Forget them.
    Purge(LetterFilter),
    /// Publish them again.
    Retry(LetterFilter),
}

/// Some letters.
#[derive(Clone, Debug, Default)]
pub struct LetterPage {
    /// How many there are for which the filter holds.
    pub total: usize,
    /// Each with what was told of it.
    pub letters: Vec<(Position, Event)>,
}

/// What became of one letter.
#[derive(Clone, Debug)]
pub struct Retried {
    /// Which.
    pub id: Position,
    /// Of which channel.
    pub channel: Channel,
    /// Its new position and whom it reached; or the words of the refusal.
    pub outcome: Result<(Position, u32), (&'static str, String)>,
    /// What refused it was the event itself, and not the moment.
    pub refused_for_good: bool,
}

/// What became of a question.
#[derive(Clone, Debug)]
pub enum LetterAnswer {
    /// Those that were asked for.
    Page(LetterPage),
    /// So many are gone.
    Purged(usize),
    /// What became of each, and how many more the filter holds for.
    Retried(Vec<Retried>, usize),
}

/// Letters to be published again, and who asked for it.
pub struct RetryOrder {
    /// The shard of the question.
    pub shard: usize,
    /// Who asked there.
    pub origin: Origin,
    /// In order.
    pub letters: Vec<Letter>,
    /// How many more the filter holds for.
    pub left: usize,
}

impl Hub {
    /// Asks something of the dead letters; the answer comes as an effect.
    pub fn ask_letters(&mut self, ask: LetterAsk, origin: Origin, now_us: u64) {
        let owner = self.owner(DEAD_LETTERS);
        match owner == self.options.shard {
            true => self.letters_asked(owner, ask, origin, now_us),
            false => self.post.push(owner, Mail::AskLetters { origin, ask: Box::new(ask) }),
        }
    }

    /// As the one who has them.
    pub(in super::super) fn letters_asked(
        &mut self,
        shard: usize,
        ask: LetterAsk,
        origin: Origin,
        now_us: u64,
    ) {
        let now_ms = self.unix_ms_at(now_us);
        self.desk.letters.expire(now_ms);
        let answer = match ask {
            LetterAsk::List { filter, after, limit } => {
                LetterAnswer::Page(page(&self.desk.letters, &filter, after, limit))
            }
            LetterAsk::Purge(filter) => {
                let ids = filter.ids(&self.desk.letters);
                let purged = ids.len();
                self.forget_letters("dead_letter.purged", ids);
                LetterAnswer::Purged(purged)
            }
            LetterAsk::Retry(filter) => return self.retry(shard, origin, &filter),
        };
        self.answer_letters(shard, origin, answer);
    }

    /// Hands the answer to whom asked.
    fn answer_letters(&mut self, shard: usize, origin: Origin, answer: LetterAnswer) {
        match shard == self.options.shard {
            true => self.effects.letters.push((origin, answer)),
            false => self.post.push(shard, Mail::Letters { origin, answer: Box::new(answer) }),
        }
    }

    fn forget_letters(&mut self, kind: &'static str, ids: Vec<Position>) {
        for id in &ids {
            self.desk.letters.remove(*id);
        }
        self.desk.gone.extend(ids.chunks(GONE_MAX).map(|ids| (kind, ids.to_vec())));
    }

    fn retry(&mut self, shard: usize, origin: Origin, filter: &LetterFilter) {
        let mut ids = filter.ids(&self.desk.letters);
        let left = ids.len().saturating_sub(RETRY_MAX);
        ids.truncate(RETRY_MAX);
        let letters = ids.iter().filter_map(|id| {
            let letter = self.desk.letters.find(*id)?;
            letter.taken = true;
            Some(letter.clone())
        });
        let letters: Vec<Letter> = letters.collect();
        if letters.is_empty() {
            return self.answer_letters(shard, origin, LetterAnswer::Retried(Vec::new(), 0));
        }
        self.effects.retries.push(RetryOrder { shard, origin, letters, left });
    }

    /// The letters of an order were published, or not: those that were are letters no more; one that was refused for good
    /// dies again, with that reason.
    pub fn letters_retried(&mut self, shard: usize, origin: Origin, retried: Vec<Retried>, left: usize) {
        let mut gone = Vec::new();
        for Retried { id, outcome, refused_for_good, .. } in &retried {
            let Some(letter) = self.desk.letters.find(*id) else { continue };
            letter.taken = false;
            let Err((error, words)) = outcome else {
                gone.push(*id);
                continue;
            };
            if *refused_for_good {
                let dead = Dead {
                    channel: letter.channel.clone(),
                    event: letter.again(),
                    position: None,
                    cause: Cause::Refused,
                    detail: format!("{error}: {words}").into(),
                    attempts: 0,
                    subscription: None,
                };
                gone.push(*id);
                self.counters.dead_letters += 1;
                self.desk.wait(dead);
            }
        }
        self.forget_letters("dead_letter.retried", gone);
        self.answer_letters(shard, origin, LetterAnswer::Retried(retried, left));
    }

    /// Letters that are kept here, and their bytes.
    pub fn letters_kept(&self) -> (usize, usize) {
        (self.desk.letters.len(), self.desk.letters.bytes())
    }

    /// After a restart: asks the log for what was told of letters, if this shard has them and the log has some.
    pub(in super::super) fn recall_letters(&mut self) {
        let Some(slot) = self.channels.find(DEAD_LETTERS) else { return };
        let owned = self.channels.at(slot);
        let (from, below) = (owned.kept_from(), owned.memory_from());
        if from < below {
            self.desk.unread = Some(below);
            self.read_letters_from(from, below);
        }
    }

    fn read_letters_from(&mut self, from: u64, below: u64) {
        let channel = Channel::parse(DEAD_LETTERS).expect("a name of letters and a dot");
        let bounds = (RETRY_MAX, PAGE_BYTES_MAX);
        self.ask_log(Reader::Letters, &channel, LogFrom::Offset(from), below, bounds);
    }

    /// The log has some of what was told.
    pub(in super::super) fn letters_found(&mut self, events: Vec<(Position, Event)>, next: u64, now_us: u64) {
        let now_ms = self.unix_ms_at(now_us);
        let went_on = !events.is_empty();
        for (position, event) in events {
            match Letter::read(position, event.clone()) {
                Some(letter) => {
                    self.counters.dead_letters_dropped += self.desk.letters.add(letter, now_ms);
                }
                None => gone(event.text()).iter().for_each(|id| drop(self.desk.letters.remove(*id))),
            }
        }
        match self.desk.unread {
            Some(below) if went_on && next < below => self.read_letters_from(next, below),
            _ => self.desk.unread = None,
        }
    }
}

impl Letter {
    /// The event as it was published the last time, with what was tried so far; not to be delivered.
    fn again(&self) -> Event {
        let extras = crate::event::Extras {
            priority: crate::event::Priority::new(self.priority.into()).unwrap_or_default(),
            router: self.router,
            deaths: crate::event::Deaths { retries: self.deaths.retries + 1, ..self.deaths },
            ..Default::default()
        };
        let facts = crate::event::Facts::read(self.event()).unwrap_or_default();
        Event::new(self.event(), &facts, Some(Box::new(extras)), self.told.at_ms())
    }
}

fn page(letters: &Letters, filter: &LetterFilter, after: Option<Position>, limit: usize) -> LetterPage {
    let total = letters.behind(0).filter(|letter| filter.takes(letter)).count();
    let mut page = LetterPage { total, letters: Vec::new() };
    let mut bytes = 0;
    let behind = letters.behind(after.map_or(0, |after| after.offset));
    for letter in behind.filter(|letter| filter.takes(letter)).take(limit) {
        bytes += letter.told.payload().len();
        if bytes > PAGE_BYTES_MAX && !page.letters.is_empty() {
            break;
        }
        page.letters.push((letter.id, letter.told.clone()));
    }
    page
}

/// The letters that an event tells to be gone; none for any other event.
fn gone(text: &str) -> Vec<Position> {
    #[derive(Deserialize)]
    struct Gone {
        ids: Vec<String>,
    }
    let ids = serde_json::from_str(text).map_or_else(|_| Vec::new(), |gone: Gone| gone.ids);
    ids.iter().filter_map(|id| Position::parse(id)).collect()
}
