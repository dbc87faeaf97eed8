//! A command as a log shows it: the beginnings of its first arguments.

use bytes::Bytes;

/// Bytes of all arguments together, of one argument, and how many are shown.
const BYTES: usize = 112;
const ARGUMENT_BYTES_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 12;

/// See the top of the file. What it has it has copied.
#[derive(Clone)]
pub struct Shown {
    bytes: [u8; BYTES],
    /// Of each argument: its length, and how many bytes of it are here.
    arguments: [(u32, u8); ARGUMENTS_MAX],
    shown: u8,
    /// Those included that are not shown.
    count: u32,
}

impl Shown {
    pub fn of(arguments: &[Bytes]) -> Self {
        let count = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
        let mut own =
            Self { bytes: [0; BYTES], arguments: [(0, 0); ARGUMENTS_MAX], shown: 0, count };
        let mut left = &mut own.bytes[..];
        // Who is shown a name should not be shown what it was told in confidence.
        let is_secret = arguments.first().is_some_and(|name| name.eq_ignore_ascii_case(b"HELLO"));
        let most = if is_secret { 1 } else { ARGUMENTS_MAX };
        for (argument, place) in arguments.iter().take(most).zip(&mut own.arguments) {
            let kept = argument.len().min(ARGUMENT_BYTES_MAX).min(left.len());
            let (here, behind) = std::mem::take(&mut left).split_at_mut(kept);
            here.copy_from_slice(&argument[..kept]);
            left = behind;
            *place = (u32::try_from(argument.len()).unwrap_or(u32::MAX), kept as u8);
            own.shown += 1;
            if left.is_empty() {
                break;
            }
        }
        own
    }

    /// The arguments as text; what was cut off is counted, as in Redis.
    pub fn words(&self) -> Vec<String> {
        let mut bytes = &self.bytes[..];
        let mut words = Vec::new();
        for (length, kept) in &self.arguments[..self.shown.into()] {
            let (here, behind) = bytes.split_at((*kept).into());
            bytes = behind;
            words.push(word(here, *length as usize));
        }
        let more = self.count as usize - words.len();
        if more > 0 {
            words.push(format!("... ({more} more arguments)"));
        }
        words
    }
}

/// The beginning of an argument. Of what is no text only the length means something.
fn word(here: &[u8], length: usize) -> String {
    let text = match std::str::from_utf8(here) {
        Ok(text) => text,
        // A character may have been cut.
        Err(error) if error.error_len().is_none() && here.len() < length => {
            std::str::from_utf8(&here[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return format!("({length} bytes)"),
    };
    if text.contains(char::is_control) {
        return format!("({length} bytes)");
    }
    match length - text.len() {
        0 => text.to_owned(),
        more => format!("{text}... ({more} more bytes)"),
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.words()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(arguments: &[&[u8]]) -> Vec<String> {
        let arguments: Vec<Bytes> = arguments.iter().map(|it| Bytes::copy_from_slice(it)).collect();
        Shown::of(&arguments).words()
    }

    #[test]
    fn what_is_short_is_whole_and_what_is_long_is_counted() {
        assert_eq!(words(&[b"PING"]), ["PING"]);
        let vector = 0.5_f32.to_le_bytes().repeat(768);
        let text = "ä".repeat(40);
        assert_eq!(
            words(&[b"EG.STORE", b"notes", b"", b"VEC", &vector, b"TEXT", text.as_bytes()]),
            [
                "EG.STORE",
                "notes",
                "",
                "VEC",
                "(3072 bytes)",
                "TEXT",
                &format!("{}... (48 more bytes)", "ä".repeat(16))
            ]
        );
        let odd = [b"x".as_slice(), "ä".repeat(40).as_bytes()].concat();
        assert_eq!(words(&[&odd]), [format!("x{}... (50 more bytes)", "ä".repeat(15))]);
        assert_eq!(words(&[b"a\r\nb", b"\xff"]), ["(4 bytes)", "(1 bytes)"]);
    }

    #[test]
    fn many_arguments_are_counted_and_secrets_left_out() {
        let many = vec![b"abc".as_slice(); 100];
        let shown = words(&many);
        assert_eq!((shown.len(), shown[12].as_str()), (13, "... (88 more arguments)"));
        let long = [b'x'; 40];
        let shown = words(&[&long[..]; 5]);
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert_eq!(shown[3], format!("{}... (24 more bytes)", "x".repeat(16)));
        assert_eq!(shown[4], "... (1 more arguments)");
        let hello = words(&[b"hello", b"3", b"AUTH", b"me", b"secret"]);
        assert_eq!(hello, ["hello", "... (4 more arguments)"]);
    }
}
