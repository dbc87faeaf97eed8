//! What a slow command will be shown as: the beginnings of its first arguments, while it is under
//! way, and without their content from then on.

use bytes::Bytes;

use crate::protocol::command::redacted;

/// Bytes of all arguments together, of one argument, and how many are kept.
const BYTES: usize = 112;
const ARGUMENT_BYTES_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 12;

/// See the top of the file. What it has it has copied.
#[derive(Clone)]
pub struct Shown {
    bytes: [u8; BYTES],
    /// Of each argument: its length, and how many bytes of it are here.
    arguments: [(u32, u8); ARGUMENTS_MAX],
    kept: u8,
    /// Those included that are not kept.
    count: u32,
}

impl Shown {
    pub fn of(arguments: &[Bytes]) -> Self {
        let count = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
        let mut own =
            Self { bytes: [0; BYTES], arguments: [(0, 0); ARGUMENTS_MAX], kept: 0, count };
        let mut left = &mut own.bytes[..];
        for (argument, place) in arguments.iter().zip(&mut own.arguments) {
            // A part of a long one would not be shown.
            let is_whole = argument.len() <= ARGUMENT_BYTES_MAX.min(left.len());
            let kept = if is_whole { argument.len() } else { 0 };
            let (here, behind) = std::mem::take(&mut left).split_at_mut(kept);
            here.copy_from_slice(&argument[..kept]);
            left = behind;
            *place = (u32::try_from(argument.len()).unwrap_or(u32::MAX), kept as u8);
            own.kept += 1;
        }
        own
    }

    /// The words that may be kept of a call of this command; those that are too many are counted.
    pub fn words(&self, command: &str) -> Vec<String> {
        let mut bytes = &self.bytes[..];
        let kept = self.arguments[..self.kept.into()].iter().map(|(length, kept)| {
            let (here, behind) = bytes.split_at((*kept).into());
            bytes = behind;
            (here, *length as usize)
        });
        let mut words = redacted(command, kept);
        let more = (self.count as usize).saturating_sub(words.len());
        if more > 0 {
            words.push(format!("... ({more} more arguments)"));
        }
        words
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str, arguments: &[&[u8]]) -> Vec<String> {
        let arguments: Vec<Bytes> = arguments.iter().map(|it| Bytes::copy_from_slice(it)).collect();
        Shown::of(&arguments).words(command)
    }

    #[test]
    fn what_is_short_is_looked_at_and_what_is_long_is_told_by_its_length() {
        assert_eq!(words("PING", &[b"PING"]), ["PING"]);
        let vector = 0.5_f32.to_le_bytes().repeat(768);
        let long = [b'x'; ARGUMENT_BYTES_MAX + 1];
        assert_eq!(
            words("EG.STORE", &[b"eg.store", b"notes", b"", b"VEC", &vector, b"dur", b"os"]),
            ["EG.STORE", "notes", "(0 bytes)", "VEC", "(3072 bytes)", "DUR", "os"]
        );
        assert_eq!(words("EG.STATS", &[b"EG.STATS", &long]), ["EG.STATS", "(33 bytes)"]);
    }

    #[test]
    fn many_arguments_are_counted_and_together_bounded() {
        let many = vec![b"abc".as_slice(); 100];
        let shown = words("EG.MGET", &many);
        assert_eq!((shown.len(), shown[12].as_str()), (13, "... (88 more arguments)"));
        let arguments = [&b"INFO"[..]].into_iter().chain([&[b'x'; 30][..]; 8]);
        let arguments: Vec<Bytes> = arguments.map(Bytes::copy_from_slice).collect();
        let shown = Shown::of(&arguments);
        let kept = shown.arguments.map(|(_, kept)| kept);
        assert_eq!(kept[..6], [4, 30, 30, 30, 0, 0]);
        assert_eq!(shown.words("INFO").len(), 9);
    }
}
