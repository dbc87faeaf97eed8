//! Superseding what is there by what is there: `EG.SUPERSEDE`.

use bytes::Bytes;
use engram_shards::episode::{Durability, Refusal};

use super::Command;
use super::arguments::{Arguments, durability, is_keyword, set_once, shown};
use super::checks;

/// Which episode is superseded, and by which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupersedeCommand {
    pub space: String,
    pub id: Bytes,
    pub by: Bytes,
    /// When that happened; `None` when the superseding episode did.
    pub valid_until_us: Option<i64>,
    pub durability: Durability,
}

pub(super) fn supersede(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.SUPERSEDE")?)?;
    let id = checks::id(arguments.value("EG.SUPERSEDE")?)?;
    let (mut by, mut valid_until_us, mut given_durability) = (None, None, None);
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "BY") {
            let value = checks::id(arguments.value("BY")?);
            set_once(&mut by, "BY", value)?;
        } else if is_keyword(&token, "AT") {
            let value = checks::time_us("AT", &arguments.value("AT")?);
            set_once(&mut valid_until_us, "AT", value)?;
        } else if is_keyword(&token, "DUR") {
            let value = durability(&arguments.value("DUR")?);
            set_once(&mut given_durability, "DUR", value)?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    let Some(by) = by else {
        return Err(arguments.misuse(format_args!("BY is missing")));
    };
    if by == id {
        return Err(Refusal::Syntax(format!("{} cannot supersede itself", shown(&id))));
    }
    let durability = given_durability.unwrap_or_default();
    Ok(Command::Supersede(SupersedeCommand { space, id, by, valid_until_us, durability }))
}
