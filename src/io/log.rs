use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may wait to be written, in bytes. As much again may be under way.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Of a buffer that a burst has made large, what is kept for the next.
const KEPT_BYTES: usize = 64 * 1024;

/// Pause before a write is tried again whose output was made non-blocking by somebody else.
const RETRY: Duration = Duration::from_millis(10);

/// A log that never blocks who writes to it: lines wait in a bounded buffer for a thread that writes them. What finds
/// the buffer full, and what cannot be written (a full disk, a pipe whose reader has gone), is lost and counted.
///
/// A shard that wrote its log itself would stand still with all of its connections when nobody empties the pipe that
/// the log goes to.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when lines have come, and when all are written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread has taken lines and not come back.
    writing: bool,
    lost: u64,
}

impl LogWriter {
    /// How long the end of a process waits for what is still to be written.
    pub const LAST_WORDS: Duration = Duration::from_secs(1);

    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || of_thread.write_all_to(output))?;
        Ok(Self(shared))
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until all that came before is written, at most `within`; says whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.0.lock();
        while state.writing || !state.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Write for LogWriter {
    /// Takes whole lines, all of them or none. Characters that a terminal or a viewer obeys instead of showing are
    /// written as `\uXXXX`, so that no value can end its line.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.add(&escaped(lines));
        Ok(lines.len())
    }

    /// Does nothing: see [`LogWriter::flush`] for what waits.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, lines: &[u8]) {
        let mut state = self.lock();
        let room = WAITING_BYTES_MAX - state.waiting.len();
        if lines.len() > room {
            state.lost += count(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.changed.notify_all();
    }

    fn write_all_to(&self, mut output: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut state = self.lock();
            state.writing = false;
            self.changed.notify_all();
            while state.waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.writing = true;
            std::mem::swap(&mut state.waiting, &mut taken);
            drop(state);
            let unwritten = write(&mut output, &taken);
            if unwritten > 0 {
                self.lock().lost += unwritten;
            }
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
        }
    }
}

/// Writes lines; gives how many were not written whole.
fn write(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(0) => return count(lines),
            Ok(len) => lines = &lines[len..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                _ => return count(lines),
            },
        }
    }
    // Standard error has no buffer of its own; what else there may be is written or not, but not known by lines.
    let _ = output.flush();
    0
}

/// Lines with the characters escaped by which a client could change how its line or the ones around it are shown: DEL,
/// the controls U+0080 to U+009F, separators of lines, marks of direction, and characters without a width.
///
/// The formats of the log leave these as they are in places: JSON demands escapes only below U+0020 (RFC 8259 section 7),
/// where all of these are in strings and so may be escaped. What is below U+0020 is the format's own here: ends of lines,
/// and colours on a terminal.
fn escaped(lines: &[u8]) -> Cow<'_, [u8]> {
    if lines.is_ascii() && !lines.contains(&0x7f) {
        return Cow::Borrowed(lines);
    }
    let mut out = String::with_capacity(lines.len());
    for char in String::from_utf8_lossy(lines).chars() {
        if is_obeyed(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a string never fails.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out.into_bytes())
}

/// Unicode's categories Cc from DEL on, Zl, Zp, and those characters of Cf that reorder or hide text.
fn is_obeyed(char: char) -> bool {
    matches!(
        char,
        '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn count(lines: &[u8]) -> u64 {
    let ends = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    ends + u64::from(lines.last().is_some_and(|byte| *byte != b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Long enough for any machine.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// An output that takes one write for each word it is given: its length, or an error.
    struct Output {
        words: Receiver<io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = self.words.recv().expect("the test goes on")?.min(bytes.len());
            self.written.send(bytes[..len].to_vec()).ok();
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (LogWriter, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let ((say, words), (written, read)) = (channel(), channel());
        (LogWriter::start(Output { words, written }).unwrap(), say, read)
    }

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        for (written, read) in [
            ("plain, and \u{1b}[2mdim\n", "plain, and \u{1b}[2mdim\n"),
            ("a\u{9b}31m", r"a\u009b31m"),
            ("\u{7f}\u{80}\u{9f}\u{a0}", "\\u007f\\u0080\\u009f\u{a0}"),
            ("evil\u{202e}gpj.exe", r"evil\u202egpj.exe"),
            ("\u{2028}\u{2029}\u{2066}\u{feff}", r"\u2028\u2029\u2066\ufeff"),
            ("\u{e0041}", r"\udb40\udc41"),
            ("h\u{e9}llo, \u{4e16} \u{1f600}", "h\u{e9}llo, \u{4e16} \u{1f600}"),
        ] {
            assert_eq!(String::from_utf8_lossy(&escaped(written.as_bytes())), read);
            // In JSON it stays the same string.
            if !written.contains(['\u{1b}', '\n']) {
                let json = format!("\"{written}\"");
                let parsed: String = serde_json::from_slice(&escaped(json.as_bytes())).unwrap();
                assert_eq!(parsed, written);
            }
        }
        assert_eq!(&*escaped(b"\xff\n"), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn lines_are_written_in_order_however_the_output_takes_them() {
        let (mut log, say, read) = start();
        log.write_all(b"first\n").unwrap();
        say.send(Err(ErrorKind::Interrupted.into())).unwrap();
        say.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        say.send(Ok(2)).unwrap();
        assert_eq!(read.recv_timeout(PATIENCE).unwrap(), b"fi");
        log.write_all(b"second\n").unwrap();
        assert!(!log.flush(Duration::from_millis(1)), "the output takes nothing");
        say.send(Ok(100)).unwrap();
        say.send(Ok(100)).unwrap();
        assert!(log.flush(PATIENCE));
        assert_eq!(read.try_iter().collect::<Vec<_>>(), [b"rst\n".to_vec(), b"second\n".to_vec()]);
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted_by_lines() {
        let (mut log, say, _read) = start();
        say.send(Ok(3)).unwrap();
        say.send(Err(ErrorKind::StorageFull.into())).unwrap();
        log.write_all(b"one\ntwo\nthree\n").unwrap();
        assert!(log.flush(PATIENCE));
        // The end of the first, and two more.
        assert_eq!(log.lost(), 3);
        say.send(Ok(0)).unwrap();
        log.write_all(b"four").unwrap();
        assert!(log.flush(PATIENCE));
        assert_eq!(log.lost(), 4);
        say.send(Ok(100)).unwrap();
        log.write_all(b"five\n").unwrap();
        assert!(log.flush(PATIENCE));
        assert_eq!(log.lost(), 4, "it goes on when there is room again");
    }

    #[test]
    fn a_stuck_output_holds_nobody_up_and_costs_so_much_memory() {
        let (mut log, say, read) = start();
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        // Taken by the thread, which is stuck with it then.
        log.write_all(b"stuck\n").unwrap();
        while !log.0.lock().writing {
            std::thread::yield_now();
        }
        for _ in 0..3 * 1024 {
            log.write_all(&line).unwrap();
        }
        assert_eq!(log.0.lock().waiting.len(), WAITING_BYTES_MAX);
        assert_eq!(log.lost(), 2 * 1024);
        for _ in 0..2 {
            say.send(Ok(usize::MAX)).unwrap();
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(read.try_iter().map(|bytes| bytes.len()).sum::<usize>(), 6 + WAITING_BYTES_MAX);
        say.send(Ok(usize::MAX)).unwrap();
        log.write_all(b"after\n").unwrap();
        assert!(log.flush(PATIENCE));
        let state = log.0.lock();
        assert!(state.waiting.capacity() <= WAITING_BYTES_MAX, "{}", state.waiting.capacity());
    }
}
