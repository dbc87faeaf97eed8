//! Trust: how sure who asks may be of an episode, which another has stored.
//!
//! A [`Confidence`] is a binomial opinion of subjective logic (Jøsang, "Subjective Logic", 2016)
//! written as an interval: its low is the belief, 1 − high the disbelief, high − low what is
//! uncertain, and the point the probability that is expected. It is the opinion of who stored it.
//! Who hears it from him and trusts him to a degree t, from 0 to 1, holds the rest for possible:
//!
//! ```text
//! low'   = t · low
//! point' = t · point + (1 − t) · ½
//! high'  = t · high  + (1 − t)
//! ```
//!
//! That is the book's trust discounting, b' = t · b and d' = t · d (compared with the operator of
//! the public library vs-uulm/go-subjectivelogic, not with the book), but for one thing: what trust
//! takes away expects ½, the base rate of a question with two answers, and not the base rate that
//! the opinion came with. Else who is not trusted at all would still choose, by the place of the
//! point in his interval, what is expected of what he says. Where the point is in the middle of the
//! interval both are the same.
//!
//! Nobody's word (t = 0) leaves ½ in \[0, 1\]: nothing is known. Discounts one behind the other are
//! one by their product. What has faded is known less surely too: memory is a witness that is
//! trusted as far as [retention](crate::strength) goes.
//!
//! Whom an episode goes back to stands in its metadata, where filters find it: [`WRITER`] names who
//! wrote it, [`SOURCE`] how he came to know it. Both are what the client said. As which user it ran
//! the kernel has told, so an entry for a user cannot be claimed by another.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::episode::{Confidence, Refusal};
use crate::filter::{FieldSink, ScalarRef, tell_fields};
use crate::limits::{METADATA_BYTES_MAX, PROVENANCE_BYTES_MAX, TRUST_ENTRIES_MAX};

/// The field of the metadata that names who wrote an episode.
pub const WRITER: &str = "writer";
/// The field of the metadata that says how the writer came to know it.
pub const SOURCE: &str = "source";

/// What is expected of a question with two answers of which nothing is known.
const BASE_RATE: f32 = 0.5;
/// What trust may be.
const DEGREES: RangeInclusive<f32> = 0.0..=1.0;

/// Which entries name an episode: the bit of each.
type Named = u64;

const _: () = assert!(TRUST_ENTRIES_MAX <= Named::BITS as usize, "each entry has a bit");

impl Confidence {
    /// Of what is heard from who is trusted so much, in [0, 1]; see the top of the file. With 1 it
    /// stays as it is, bit for bit.
    #[must_use]
    pub fn discounted(self, trust: f32) -> Self {
        let Self { point, low, high } = self;
        let doubt = 1.0 - trust;
        Self {
            point: trust * point + doubt * BASE_RATE,
            low: trust * low,
            high: f32::min(trust * high + doubt, 1.0),
        }
    }
}

/// What who asks may think of an episode, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// As it was stored, discounted by both.
    pub confidence: Confidence,
    /// In whom it goes back to.
    pub trust: f32,
    /// How probably it is retained.
    pub retention: f32,
}

impl Opinion {
    pub fn new(stored: Confidence, trust: f32, retention: f32) -> Self {
        let confidence = stored.discounted(trust).discounted(retention);
        Self { confidence, trust, retention }
    }
}

/// What of its provenance an entry names an episode by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Writer,
    Source,
}

impl Role {
    pub const ALL: [Self; 2] = [Self::Writer, Self::Source];

    /// The field of the metadata.
    pub fn field(self) -> &'static str {
        match self {
            Self::Writer => WRITER,
            Self::Source => SOURCE,
        }
    }
}

/// Whom an entry names.
#[derive(Debug, Clone, PartialEq)]
enum Whom {
    /// By what the metadata says.
    Named(Role, String),
    /// By the user whose process stored the episode.
    User(u32),
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    whom: Whom,
    trust: f32,
}

impl Entry {
    fn has_role(&self, role: Role) -> bool {
        matches!(self.whom, Whom::Named(own, _) if own == role)
    }

    fn is_named(&self, role: Role, name: &str) -> bool {
        matches!(&self.whom, Whom::Named(own, own_name) if *own == role && own_name == name)
    }
}

/// How much who asks trusts whom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trust {
    entries: Vec<Entry>,
    /// In those that no entry names; 1 unless given.
    others: Option<f32>,
}

impl Trust {
    /// Adds an entry for a writer or a source. There are [`TRUST_ENTRIES_MAX`] of all kinds at
    /// most.
    pub fn add(&mut self, role: Role, name: String, trust: f32) -> Result<(), Refusal> {
        check_name("the name behind TRUST", &name)?;
        let what = format!("{} '{name}'", role.field());
        self.push(Whom::Named(role, name), &what, trust)
    }

    /// Adds an entry for what was stored by processes of a user.
    pub fn add_user(&mut self, uid: u32, trust: f32) -> Result<(), Refusal> {
        self.push(Whom::User(uid), &format!("user {uid}"), trust)
    }

    fn push(&mut self, whom: Whom, what: &str, trust: f32) -> Result<(), Refusal> {
        if self.entries.iter().any(|entry| entry.whom == whom) {
            let what = format!("TRUST names the {what} twice; name it once");
            return Err(Refusal::Syntax(what));
        }
        let got = self.entries.len() + 1;
        if got > TRUST_ENTRIES_MAX {
            return Err(Refusal::TooBig { what: "list of TRUST", got, max: TRUST_ENTRIES_MAX });
        }
        self.entries.push(Entry { whom, trust: check_degree(trust)? });
        Ok(())
    }

    /// Sets what is trusted in those that no entry names.
    pub fn set_others(&mut self, trust: f32) -> Result<(), Refusal> {
        match self.others.replace(check_degree(trust)?) {
            None => Ok(()),
            Some(_) => Err(Refusal::Syntax("TRUST * is given twice; give it once".into())),
        }
    }

    /// In an episode with this metadata that a process of this user stored: the product of all
    /// entries that name it, or that of others. `None` of bytes that are no JSON object.
    pub fn of(&self, metadata: &[u8], writer_uid: u32) -> Option<f32> {
        let is_user = |entry: &Entry| entry.whom == Whom::User(writer_uid);
        let user = self.entries.iter().position(is_user).map_or(0, |nth| 1 << nth);
        let mut naming = Naming { entries: &self.entries, named: user };
        if !tell_fields(metadata, &mut naming) {
            return None;
        }
        let named = naming.named;
        if named == 0 {
            return Some(self.others.unwrap_or(1.0));
        }
        let entries = self.entries.iter().enumerate();
        let entries = entries.filter(|(nth, _)| named >> nth & 1 == 1);
        Some(entries.map(|(_, entry)| entry.trust).product())
    }
}

fn check_degree(trust: f32) -> Result<f32, Refusal> {
    match DEGREES.contains(&trust) {
        true => Ok(trust),
        false => Err(Refusal::Syntax(format!("trust must be from 0 to 1, got {trust}"))),
    }
}

/// A name that a writer or a source may have: 1 to [`PROVENANCE_BYTES_MAX`] bytes without control
/// characters.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Refusal> {
    let (got, max) = (name.len(), PROVENANCE_BYTES_MAX);
    if got > max {
        return Err(Refusal::TooBig { what, got, max });
    }
    if name.is_empty() || name.contains(char::is_control) {
        let what = format!("{what} must have 1 to {max} bytes and no control characters");
        return Err(Refusal::Syntax(what));
    }
    Ok(())
}

/// Finds out which entries name an episode.
struct Naming<'a> {
    entries: &'a [Entry],
    named: Named,
}

impl FieldSink for Naming<'_> {
    fn field(&mut self, parent: usize, name: &str) -> Option<usize> {
        let nth = Role::ALL.iter().position(|role| role.field() == name);
        let nth = nth.filter(|_| parent == 0)?;
        // Of a name that occurs twice the last counts.
        let entries = self.entries.iter().enumerate();
        let of_role = entries.filter(|(_, entry)| entry.has_role(Role::ALL[nth]));
        of_role.for_each(|(nth, _)| self.named &= !(1 << nth));
        Some(nth + 1)
    }

    fn value(&mut self, field: usize, value: ScalarRef<'_>) {
        let ScalarRef::String(name) = value else { return };
        let entries = self.entries.iter().enumerate();
        let is_it = |entry: &Entry| entry.is_named(Role::ALL[field - 1], name);
        entries.filter(|(_, entry)| is_it(entry)).for_each(|(nth, _)| self.named |= 1 << nth);
    }
}

/// Metadata that says this of the provenance of an episode beside all it said before. Where it says
/// something of it already, that must be the same.
pub fn with_provenance(metadata: Bytes, role: Role, name: &str) -> Result<Bytes, Refusal> {
    let field = role.field();
    let mut told = Told { field, name, values: None };
    if !tell_fields(&metadata, &mut told) {
        return Err(Refusal::Syntax("META must be a JSON object".into()));
    }
    match told.values {
        Some((all, same)) if all == same && all > 0 => return Ok(metadata),
        Some(_) => {
            let keyword = field.to_ascii_uppercase();
            let what = format!("META has another '{field}' than {keyword}; say it once");
            return Err(Refusal::Syntax(what));
        }
        None => {}
    }
    let own = serde_json::json!({ field: name }).to_string();
    let fields = metadata.trim_ascii().strip_prefix(b"{");
    let fields = fields.and_then(|fields| fields.strip_suffix(b"}")).unwrap_or_default();
    let whole = match fields.trim_ascii().is_empty() {
        true => Bytes::from(own),
        // What was sent stays as it was; one field more comes behind it.
        false => Bytes::from([b"{", fields, b",", &own.as_bytes()[1..]].concat()),
    };
    let (got, max) = (whole.len(), METADATA_BYTES_MAX);
    match got > max {
        true => Err(Refusal::TooBig { what: "META with WRITER and SOURCE", got, max }),
        false => Ok(whole),
    }
}

/// Finds out whether a field of the metadata says a name.
struct Told<'a> {
    field: &'static str,
    name: &'a str,
    /// Its values, and how many of them are the name; `None` as long as there is no such field.
    values: Option<(usize, usize)>,
}

impl FieldSink for Told<'_> {
    fn field(&mut self, parent: usize, name: &str) -> Option<usize> {
        let is_it = parent == 0 && name == self.field;
        // Of a name that occurs twice the last counts.
        is_it.then(|| {
            self.values = Some((0, 0));
            1
        })
    }

    fn value(&mut self, _: usize, value: ScalarRef<'_>) {
        let is_same = matches!(value, ScalarRef::String(own) if own == self.name);
        if let Some((all, same)) = &mut self.values {
            (*all, *same) = (*all + 1, *same + usize::from(is_same));
        }
    }
}

#[cfg(test)]
mod tests;
