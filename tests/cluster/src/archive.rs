//! Tar archives, as far as container images need them.

use std::io::{self, Write};

/// Size of a tar record in bytes: headers and contents are padded to it.
const RECORD: usize = 512;

/// One member of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path inside the archive, without a leading slash. A directory's ends with a slash.
    pub path: String,
    /// Permission bits, such as 0o755.
    pub mode: u32,
    /// What the member holds.
    pub content: Content,
}

/// What a member of an archive holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Link(String),
}

impl Entry {
    /// A regular file.
    pub fn file(path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(path, mode, Content::File(bytes.into()))
    }

    /// A directory. `path` ends with a slash.
    pub fn directory(path: &str, mode: u32) -> Self {
        Self::new(path, mode, Content::Directory)
    }

    /// A symbolic link.
    pub fn link(path: &str, target: &str) -> Self {
        Self::new(path, 0o777, Content::Link(target.to_owned()))
    }

    fn new(path: &str, mode: u32, content: Content) -> Self {
        Self { path: path.to_owned(), mode, content }
    }
}

/// Writes `entries` as a tar archive (the "ustar" format). Everything belongs to root and is dated 1970, so
/// that the same files make the same archive.
///
/// # Errors
/// A path or link target of more than 99 bytes, or whatever writing to `output` fails with.
pub fn write(entries: &[Entry], output: &mut impl Write) -> io::Result<()> {
    for entry in entries {
        output.write_all(&header(entry)?)?;
        if let Content::File(bytes) = &entry.content {
            output.write_all(bytes)?;
            let padding = bytes.len().next_multiple_of(RECORD) - bytes.len();
            output.write_all(&[0; RECORD][..padding])?;
        }
    }
    output.write_all(&[0; 2 * RECORD])
}

/// The header record of one member.
fn header(entry: &Entry) -> io::Result<[u8; RECORD]> {
    let (kind, size, target) = match &entry.content {
        Content::File(bytes) => (b'0', bytes.len(), ""),
        Content::Link(target) => (b'2', 0, target.as_str()),
        Content::Directory => (b'5', 0, ""),
    };
    let mut record = [0; RECORD];
    put(&mut record, 0, 99, &entry.path)?;
    put(&mut record, 100, 7, &format!("{:07o}", entry.mode))?;
    put(&mut record, 108, 7, "0000000")?;
    put(&mut record, 116, 7, "0000000")?;
    put(&mut record, 124, 11, &format!("{size:011o}"))?;
    put(&mut record, 136, 11, "00000000000")?;
    put(&mut record, 148, 8, "        ")?;
    record[156] = kind;
    put(&mut record, 157, 99, target)?;
    put(&mut record, 257, 8, "ustar\u{0}00")?;
    let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut record, 148, 8, &format!("{sum:06o}\u{0} "))?;
    Ok(record)
}

/// Writes `text` into a field of the header which holds at most `room` bytes.
fn put(record: &mut [u8; RECORD], start: usize, room: usize, text: &str) -> io::Result<()> {
    if text.len() > room {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{text}\" is longer than the {room} bytes which a tar header has for it"),
        ));
    }
    record[start..start + text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octal(bytes: &[u8]) -> usize {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
        usize::from_str_radix(&text, 8).unwrap()
    }

    #[test]
    fn members_are_padded_to_whole_records() {
        let mut archive = Vec::new();
        let entries =
            [Entry::directory("bin/", 0o755), Entry::file("bin/a", 0o644, vec![7; 513]), Entry::link("b", "bin/a")];
        write(&entries, &mut archive).unwrap();
        assert_eq!(archive.len(), RECORD * (1 + 1 + 2 + 1 + 2));
        assert_eq!(&archive[RECORD..RECORD + 5], b"bin/a");
        assert_eq!(octal(&archive[RECORD + 124..RECORD + 136]), 513);
        assert_eq!(archive[4 * RECORD + 156], b'2');
    }

    #[test]
    fn the_checksum_is_the_sum_with_its_own_field_blank() {
        let record = header(&Entry::file("x", 0o755, vec![1, 2, 3])).unwrap();
        let mut blank = record;
        blank[148..156].fill(b' ');
        let sum: usize = blank.iter().map(|byte| usize::from(*byte)).sum();
        assert_eq!(octal(&record[148..156]), sum);
    }

    #[test]
    fn a_path_which_does_not_fit_is_refused() {
        let entry = Entry::file(&"a".repeat(100), 0o644, vec![]);
        let error = write(&[entry], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("longer than the 99 bytes"));
    }
}
