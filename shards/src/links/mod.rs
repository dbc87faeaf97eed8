//! Links: the associations of episodes.
//!
//! The links of an episode are a set: no two have the same target and kind. They belong to the
//! episode they leave, so they are where it is, and part of its body. What they lead to is an id,
//! of an episode here or on another shard, or of none.
//!
//! A body never changes. Where links change after the episode was stored, [`LinkList`] is the whole
//! list as it is now; the memory space keeps it beside the body until a consolidation writes a new
//! one (`space/links.rs`).
//!
//! Bodies name what a link leads to. [`SectionLinks`] are the same links with numbers in the place
//! of names, as spreading activation reads them.

mod builder;
mod columns;
mod gist;
mod list;
mod names;

pub(crate) use builder::LinksBuilder;
pub(crate) use columns::LinkColumns;
pub use columns::{KIND_OTHER, SectionLinks};
pub use gist::{GIST_KIND, GistLink, StoredAt, is_association};
pub use list::{LinkList, TooManyLinks};
pub(crate) use names::{Kinds, Names};
