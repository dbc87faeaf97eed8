//! What a recall, or a gist, is asked by.

use clap::Args;
use redis::Cmd;

use crate::commands::options::push;
use crate::error::ToolError;
use crate::vectors::VectorArguments;

#[derive(Debug, Args)]
pub(crate) struct Cues {
    #[command(flatten)]
    vector: VectorArguments,
    /// Cue with a known episode; may be repeated, several cues count as their mean
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Question in words, alone or beside another cue
    #[arg(long, value_name = "QUESTION")]
    text: Option<String>,
}

impl Cues {
    /// Adds the cues, of which `whoever` needs one.
    pub(crate) fn add_to(&self, command: &mut Cmd, whoever: &str) -> Result<(), ToolError> {
        let vector = self.vector.read_blob()?;
        if vector.is_none() && self.id.is_empty() && self.text.is_none() {
            return Err(ToolError::usage(format!(
                "{whoever} needs a cue: --text QUESTION, --id ID, --vector FILE.npy or --values \
                 NUMBERS"
            )));
        }
        if let Some(vector) = vector {
            command.arg("VEC").arg(vector);
        }
        for id in &self.id {
            command.arg("ID").arg(id);
        }
        push(command, "TEXT", self.text.as_deref());
        Ok(())
    }
}
