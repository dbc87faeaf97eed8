//! Links between episodes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Switch, Takes, Target, Words};
use crate::edge::problem::Problem;

/// A link of an episode that is stored.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with id and weight")]
pub struct OwnLink {
    /// Where it leads.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    #[schemars(extend("exclusiveMinimum" = 1e-38), range(max = 3e38))]
    weight: f64,
    #[schemars(length(min = 1, max = 64))]
    kind: Option<String>,
}

impl OwnLink {
    pub(super) fn say(self, words: &mut Words) {
        words.word("LINK").word(self.id).word(self.weight).option("KIND", self.kind);
    }
}

/// A link to make, or to give another weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with from, to and weight")]
pub struct Link {
    #[schemars(length(min = 1, max = 256))]
    from: String,
    #[schemars(length(min = 1, max = 256))]
    to: String,
    #[schemars(extend("exclusiveMinimum" = 1e-38), range(max = 3e38))]
    weight: f64,
    #[schemars(length(min = 1, max = 64))]
    kind: Option<String>,
    /// The same the other way round as well.
    mutual: Option<bool>,
    #[schemars(extend("enum" = ["disk", "os"]))]
    durability: Option<String>,
}

impl Takes for Link {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.LINK");
        words.word(target.space()?).word(self.from).word(self.to).word(self.weight);
        words.option("KIND", self.kind).flag("MUTUAL", self.mutual);
        Ok(words.option("DUR", self.durability).asked(None))
    }
}

/// Links to remove: those of a kind, or of all kinds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with from and to")]
pub struct Unlink {
    #[schemars(length(min = 1, max = 256))]
    from: String,
    #[schemars(length(min = 1, max = 256))]
    to: String,
    #[schemars(length(min = 1, max = 64))]
    kind: Option<String>,
    /// The same the other way round as well.
    #[schemars(with = "Option<bool>")]
    mutual: Option<Switch>,
    #[schemars(extend("enum" = ["disk", "os"]))]
    durability: Option<String>,
}

impl Takes for Unlink {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.UNLINK");
        words.word(target.space()?).word(self.from).word(self.to);
        words.option("KIND", self.kind).flag("MUTUAL", self.mutual.map(Switch::is_on));
        Ok(words.option("DUR", self.durability).asked(None))
    }
}
