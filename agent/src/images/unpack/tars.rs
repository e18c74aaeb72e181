//! Tars for tests, also such as no honest program writes.

/// A tar under construction.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

/// What tests vary in a header.
pub(crate) struct Fields<'a> {
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) target: &'a str,
    pub(crate) device: (u32, u32),
}

impl Fields<'_> {
    pub(crate) fn of(flag: u8) -> Self {
        // Whoever runs the test may give files to nobody but himself.
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Self { flag, mode: 0o755, owner, size: 0, target: "", device: (0, 0) }
    }
}

impl Tar {
    pub(crate) fn header(mut self, path: &str, fields: &Fields<'_>) -> Self {
        self.0.extend(header(path, fields));
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        let padding = self.0.len().next_multiple_of(512);
        self.0.resize(padding, 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let size = content.len() as u64;
        self.header(path, &Fields { mode: 0o644, size, ..Fields::of(b'0') }).bytes(content.as_bytes())
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.header(path, &Fields::of(b'5'))
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.header(path, &Fields { target, ..Fields::of(b'2') })
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.header(path, &Fields { target, ..Fields::of(b'1') })
    }

    /// Records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| length.to_string().len() + rest == *length);
            text.extend(format!("{} {key}=", length.unwrap()).as_bytes());
            text.extend(*value);
            text.push(b'\n');
        }
        let size = text.len() as u64;
        self.header("pax", &Fields { size, ..Fields::of(b'x') }).bytes(&text)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    /// Without the two empty blocks.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }
}

fn header(path: &str, fields: &Fields<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, &format!("{:07o}", fields.mode));
    put(108, &format!("{:07o}", fields.owner.0));
    put(116, &format!("{:07o}", fields.owner.1));
    put(124, &format!("{:011o}", fields.size));
    put(136, &format!("{:011o}", 1_000_000_000));
    put(148, "        ");
    put(157, fields.target);
    put(257, "ustar");
    put(263, "00");
    put(329, &format!("{:07o}", fields.device.0));
    put(337, &format!("{:07o}", fields.device.1));
    block[156] = fields.flag;
    sum(&mut block);
    block
}

/// Makes the checksum right again.
pub(crate) fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
