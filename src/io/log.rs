use crossbeam_channel::{Receiver, Sender, bounded};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes of lines that wait to be written or are being written.
const BYTES_MAX: usize = 1 << 20;

/// Events that wait: their places cost 40 bytes each from the start.
const EVENTS_MAX: usize = 2048;

/// Bytes after which waiting lines are no longer gathered into one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Pause before a write is tried again whose output another process has made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// A log that never blocks its writers: lines wait in a bounded channel for a thread that writes them. Lines that find it
/// full, and lines that cannot be written (a full disk, a pipe whose reader has gone), are lost and counted.
///
/// A shard that wrote its log itself would stand still with all of its connections when nobody empties the pipe that
/// the log goes to.
#[derive(Debug, Clone)]
pub struct LogWriter {
    sender: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// All that came before has been written.
    Written(Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of lines that wait or are being written.
    waiting: AtomicUsize,
    /// Lines.
    lost: AtomicU64,
}

impl LogWriter {
    /// How long the end of a process waits for what is still to be written.
    pub const LAST_WORDS: Duration = Duration::from_secs(1);

    /// Starts the thread that writes to `output`. It ends with the last clone of this writer.
    ///
    /// # Errors
    /// If the process cannot have a further thread.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = bounded(EVENTS_MAX);
        let counts = Arc::<Counts>::default();
        let of_thread = counts.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&receiver, &of_thread, output))?;
        Ok(Self { sender, counts })
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that came before is written, at most `within`; says whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let (written, is_written) = bounded(1);
        self.sender.send_deadline(Message::Written(written), deadline).is_ok()
            && is_written.recv_deadline(deadline).is_ok()
    }

    fn add(&self, lines: &[u8]) {
        let Counts { waiting, lost } = &*self.counts;
        let has_place = waiting.fetch_add(lines.len(), Ordering::Relaxed) + lines.len() <= BYTES_MAX;
        if !has_place || self.sender.try_send(Message::Lines(lines.to_vec())).is_err() {
            waiting.fetch_sub(lines.len(), Ordering::Relaxed);
            lost.fetch_add(count(lines), Ordering::Relaxed);
        }
    }
}

impl Write for LogWriter {
    /// Takes whole lines, all of them or none. Characters that a terminal or a viewer obeys instead of showing are
    /// written as `\uXXXX`, so that no value can end its line.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.add(&escaped(lines));
        Ok(lines.len())
    }

    /// Does nothing: [`LogWriter::flush`] waits for the lines.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the lines of all writers until the last writer has gone.
fn write_all(messages: &Receiver<Message>, counts: &Counts, mut output: impl Write) {
    let mut taken = Vec::new();
    while let Ok(message) = messages.recv() {
        let mut next = Some(message);
        while let Some(Message::Lines(lines)) = next {
            taken.extend(lines);
            next = if taken.len() < WRITE_BYTES { messages.try_recv().ok() } else { None };
        }
        counts.lost.fetch_add(write(&mut output, &taken), Ordering::Relaxed);
        counts.waiting.fetch_sub(taken.len(), Ordering::Relaxed);
        taken.clear();
        taken.shrink_to(WRITE_BYTES);
        if let Some(Message::Written(told)) = next {
            // Fails where nobody waits any more.
            let _ = told.try_send(());
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
    use crossbeam_channel::unbounded;

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
        let ((say, words), (written, read)) = (unbounded(), unbounded());
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
        while !log.sender.is_empty() {
            std::thread::yield_now();
        }
        for _ in 0..3 * 1024 {
            log.write_all(&line).unwrap();
        }
        let kept = BYTES_MAX / 1024 - 1;
        assert_eq!(log.counts.waiting.load(Ordering::Relaxed), b"stuck\n".len() + kept * 1024);
        assert_eq!(log.lost(), (3 * 1024 - kept) as u64);
        assert!(!log.flush(Duration::from_millis(1)), "the output takes nothing");
        for _ in 0..=BYTES_MAX / WRITE_BYTES {
            say.send(Ok(usize::MAX)).unwrap();
        }
        assert!(log.flush(PATIENCE));
        assert_eq!(read.try_iter().map(|bytes| bytes.len()).sum::<usize>(), 6 + kept * 1024);
    }

    #[test]
    fn short_lines_are_bounded_by_their_number_and_the_log_goes_on_after_a_burst() {
        let (mut log, say, read) = start();
        log.write_all(b"stuck\n").unwrap();
        while !log.sender.is_empty() {
            std::thread::yield_now();
        }
        for _ in 0..EVENTS_MAX + 10 {
            log.write_all(b"x\n").unwrap();
        }
        assert_eq!(log.lost(), 10);
        let all = 6 + 2 * EVENTS_MAX;
        let mut written = 0;
        while written < all {
            say.send(Ok(usize::MAX)).unwrap();
            written += read.recv_timeout(PATIENCE).unwrap().len();
        }
        say.send(Ok(usize::MAX)).unwrap();
        log.write_all(b"after\n").unwrap();
        assert!(log.flush(PATIENCE));
        assert_eq!(read.try_iter().collect::<Vec<_>>(), [b"after\n"]);
        assert_eq!(log.counts.waiting.load(Ordering::Relaxed), 0);
    }
}
