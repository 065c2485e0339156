//! Reading the plugin's configuration from a file. What may not enter: what it says.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// As much as a runtime can send.
const MOST_BYTES: u64 = 4 << 20;

/// The text of a file; an error names it.
pub(crate) async fn read(file: &Path) -> Result<String, String> {
    let path = file.to_owned();
    // A file may be on a disk that is slow.
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        // It would be waited for who writes into it, at each connection anew.
        if std::fs::metadata(&path)?.file_type().is_fifo() {
            return Err(std::io::Error::other("it is a pipe, and must be a file"));
        }
        let file = File::open(path)?;
        file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let named = |reason: &dyn std::fmt::Display| {
        let file = file.display();
        format!("the configuration file {file} cannot be read: {reason}")
    };
    match read.await {
        Ok(Ok(text)) if text.len() as u64 > MOST_BYTES => Err(named(&"it has more than 4 MiB")),
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(named(&error)),
        Err(panic) => Err(named(&panic)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        assert!(
            read(&file)
                .await
                .unwrap_err()
                .contains("a.toml cannot be read: No such file")
        );
        std::fs::write(&file, [0xff]).unwrap();
        assert!(read(&file).await.unwrap_err().contains("UTF-8"));
        std::fs::write(&file, vec![b'#'; 4 << 20]).unwrap();
        assert_eq!(read(&file).await.unwrap().len(), 4 << 20);
        std::fs::write(&file, vec![b'#'; (4 << 20) + 1]).unwrap();
        assert!(read(&file).await.unwrap_err().contains("more than 4 MiB"));
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(read(&pipe).await.unwrap_err().contains("it is a pipe"));
        assert!(
            read(Path::new("/dev/zero"))
                .await
                .unwrap_err()
                .contains("4 MiB")
        );
    }
}
