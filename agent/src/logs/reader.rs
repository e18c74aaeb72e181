//! Reads one container run's log from its start to its end, or for as long as it grows.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::Timestamp;
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::changes::Changes;
use super::line::Line;
use super::{Life, LogOptions, tail};

const PIECE: usize = 64 * 1024;

pub(super) struct Reader {
    path: PathBuf,
    file: File,
    /// Which file is open: a rotation puts another one at the same path.
    inode: u64,
    options: LogOptions,
    since: Option<Timestamp>,
    /// The beginning of a line whose end was not read yet.
    unfinished: Vec<u8>,
    changes: Option<Changes>,
    life: Life,
    /// The run is over: what is in the file now is all there will be.
    last_look: bool,
}

impl Reader {
    pub(super) async fn open(
        path: PathBuf,
        options: LogOptions,
        since: Option<Timestamp>,
        life: Life,
    ) -> io::Result<Self> {
        // Watching begins before reading, so that nothing is missed in between.
        let directory = path.parent().unwrap_or(Path::new("/"));
        let changes = options.follow.then(|| Changes::watch(directory));
        let mut file = File::open(&path).await?;
        let inode = file.metadata().await?.ino();
        if let Some(lines) = options.tail_lines {
            file = skip_to_tail(file, lines).await?;
        }
        Ok(Self {
            path,
            file,
            inode,
            options,
            since,
            unfinished: Vec::new(),
            changes,
            life,
            last_look: false,
        })
    }

    /// The next piece of text; `None` at the end. Dropping it halfway ends the log.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; PIECE];
        loop {
            if self.options.limit_bytes == Some(0) {
                return Ok(None);
            }
            let length = self.file.read(&mut piece).await?;
            if length > 0 {
                self.unfinished.extend_from_slice(&piece[..length]);
            } else if !self.wait().await? {
                return Ok(None);
            }
            let mut text = self.take_lines();
            self.limit(&mut text);
            if !text.is_empty() {
                return Ok(Some(text.into()));
            }
        }
    }

    /// At the end of the file: waits for more; false when there will be no more.
    async fn wait(&mut self) -> io::Result<bool> {
        let Some(changes) = &mut self.changes else { return Ok(false) };
        if self.last_look {
            return Ok(false);
        }
        if let Some(next) = rotated(&self.path, self.inode).await {
            self.inode = next.metadata().await?.ino();
            self.file = next;
            return Ok(true);
        }
        if self.life.is_over() {
            self.last_look = true;
            return Ok(true);
        }
        tokio::select! {
            biased;
            () = changes.next() => {}
            () = self.life.changed() => {}
        }
        Ok(true)
    }

    /// The whole lines read so far, as the client wants them.
    fn take_lines(&mut self) -> Vec<u8> {
        let Some(last) = self.unfinished.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.unfinished.split_off(last + 1);
        let whole = std::mem::replace(&mut self.unfinished, rest);
        let mut out = Vec::with_capacity(whole.len());
        for raw in whole[..last].split(|byte| *byte == b'\n') {
            let Some(line) = Line::parse(raw) else { continue };
            if self.since.is_none_or(|since| line.is_since(since)) {
                line.write(self.options.timestamps, &mut out);
            }
        }
        out
    }

    /// Cuts the text to what the client still wants.
    fn limit(&mut self, text: &mut Vec<u8>) {
        if let Some(limit) = &mut self.options.limit_bytes {
            text.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
            *limit = limit.saturating_sub(text.len() as u64);
        }
    }
}

/// The file that took the place of the one with this inode.
async fn rotated(path: &Path, inode: u64) -> Option<File> {
    let present = tokio::fs::metadata(path).await.ok()?;
    if present.ino() == inode {
        return None;
    }
    File::open(path).await.ok()
}

async fn skip_to_tail(file: File, lines: u64) -> io::Result<File> {
    let mut file = file.into_std().await;
    let positioned = tokio::task::spawn_blocking(move || {
        use std::io::{Seek, SeekFrom};
        let start = tail::start_of_last_lines(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
        Ok::<_, io::Error>(file)
    });
    positioned.await.map_err(io::Error::other)?.map(File::from_std)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::desired::{Desired, PodKey};
    use crate::gateway::PodStatuses;

    struct Fixture {
        directory: tempfile::TempDir,
        desired: watch::Sender<Arc<Desired>>,
        statuses: watch::Sender<Arc<PodStatuses>>,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let (desired, statuses) = (watch::channel(Arc::default()).0, watch::channel(Arc::default()).0);
            Self { directory, desired, statuses }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("0.log")
        }

        fn write(&self, second: u32, text: &str) {
            let mut file =
                std::fs::File::options().append(true).create(true).open(self.path()).expect("opened");
            writeln!(file, "2026-11-21T02:00:{second:02}Z stdout F {text}").expect("written");
        }

        fn end(&self) {
            self.desired.send_replace(Arc::new(Desired { synced: true, ..Desired::default() }));
            self.statuses.send_replace(Arc::default());
        }

        async fn reader(&self, options: LogOptions) -> Reader {
            let life = Life {
                uid: "1".into(),
                key: PodKey::new("default", "a"),
                container: "c".into(),
                attempt: 0,
                desired: self.desired.subscribe(),
                statuses: self.statuses.subscribe(),
            };
            let since = options.since_time;
            Reader::open(self.path(), options, since, life).await.expect("opened")
        }

        async fn all(&self, query: &str) -> String {
            let mut reader = self.reader(LogOptions::parse(query).expect("valid")).await;
            let mut all = Vec::new();
            while let Some(piece) = reader.next().await.expect("read") {
                all.extend_from_slice(&piece);
            }
            String::from_utf8(all).expect("text")
        }
    }

    #[tokio::test]
    async fn every_option_cuts_as_asked() {
        let fixture = Fixture::new();
        for second in 1..=3 {
            fixture.write(second, &format!("line {second}"));
        }
        for (query, wanted) in [
            ("", "line 1\nline 2\nline 3\n"),
            ("tailLines=1", "line 3\n"),
            ("tailLines=0", ""),
            ("limitBytes=9", "line 1\nli"),
            ("limitBytes=0", ""),
            ("sinceTime=2026-11-21T02:00:02Z", "line 2\nline 3\n"),
            ("tailLines=1&timestamps=true", "2026-11-21T02:00:03Z line 3\n"),
        ] {
            assert_eq!(fixture.all(query).await, wanted, "{query}");
        }
    }

    #[tokio::test]
    async fn pieces_of_a_long_line_are_joined() {
        let fixture = Fixture::new();
        let raw = "2026-11-21T02:00:00Z stdout P half \n2026-11-21T02:00:00Z stdout F done\nbroken\n";
        std::fs::write(fixture.path(), raw).expect("written");
        assert_eq!(fixture.all("").await, "half done\n");
    }

    #[tokio::test]
    async fn follows_across_a_rotation_until_the_container_ends() {
        let fixture = Fixture::new();
        fixture.write(1, "first");
        let mut reader = fixture.reader(LogOptions::parse("follow=true").expect("valid")).await;
        let mut next = async || {
            let piece = tokio::time::timeout(std::time::Duration::from_secs(5), reader.next()).await;
            piece.expect("in time").expect("read").map(|piece| String::from_utf8_lossy(&piece).into_owned())
        };
        assert_eq!(next().await.as_deref(), Some("first\n"));
        fixture.write(2, "second");
        assert_eq!(next().await.as_deref(), Some("second\n"));
        fixture.write(3, "before");
        std::fs::rename(fixture.path(), fixture.directory.path().join("0.log.20261121")).expect("renamed");
        fixture.write(4, "after");
        assert_eq!(next().await.as_deref(), Some("before\n"));
        assert_eq!(next().await.as_deref(), Some("after\n"));
        fixture.write(5, "last words");
        fixture.end();
        assert_eq!(next().await.as_deref(), Some("last words\n"));
        assert_eq!(next().await, None);
    }
}
