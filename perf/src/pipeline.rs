//! A connection for whole pipelines, whose replies are kept as they stand on the wire.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::daemon::Daemon;
use crate::resp::{Reply, push_command};

const PIECE_BYTES: usize = 256 << 10;

/// Replies as they stand on the wire.
pub type Replies = Vec<Vec<u8>>;

/// See the top of the file.
#[derive(Debug)]
pub struct Pipeline {
    stream: UnixStream,
    inbox: Vec<u8>,
}

impl Pipeline {
    /// A connection that speaks RESP3.
    pub fn connect(daemon: &Daemon) -> Result<Self, Box<dyn Error>> {
        let stream = UnixStream::connect(daemon.socket())?;
        let mut pipeline = Self { stream, inbox: Vec::new() };
        let mut hello = Vec::new();
        push_command(&mut hello, &[b"HELLO", b"3"]);
        pipeline.send(&hello, 1)?;
        Ok(pipeline)
    }

    /// Sends commands and reads so many replies meanwhile.
    pub fn send(&mut self, commands: &[u8], replies: usize) -> Result<Replies, Box<dyn Error>> {
        let Self { stream, inbox } = self;
        if commands.len() <= PIECE_BYTES {
            (&*stream).write_all(commands)?;
            return read_replies(stream, inbox, replies);
        }
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| (&*stream).write_all(commands));
            let read = read_replies(stream, inbox, replies);
            writing.join().expect("no panic")?;
            read
        })
    }

    /// Sends commands that store something, and says so if one was refused.
    pub fn store(&mut self, commands: &[u8], replies: usize) -> Result<(), Box<dyn Error>> {
        let replies = self.send(commands, replies)?;
        match replies.iter().find(|reply| reply.starts_with(b"-")) {
            Some(error) => Err(String::from_utf8_lossy(error).into()),
            None => Ok(()),
        }
    }
}

fn read_replies(
    mut stream: &UnixStream,
    inbox: &mut Vec<u8>,
    count: usize,
) -> Result<Replies, Box<dyn Error>> {
    let mut replies = Vec::with_capacity(count);
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while replies.len() < count {
        if let Some((_, bytes)) = Reply::read(&inbox[at..])? {
            replies.push(inbox[at..at + bytes].to_vec());
            at += bytes;
            continue;
        }
        inbox.drain(..std::mem::take(&mut at));
        match stream.read(&mut piece)? {
            0 => return Err("the daemon closed the connection".into()),
            bytes => inbox.extend_from_slice(&piece[..bytes]),
        }
    }
    inbox.drain(..at);
    Ok(replies)
}

/// The value that so large a share of ascending ones are not above.
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    ascending[((ascending.len() - 1) as f64 * share).round() as usize]
}
