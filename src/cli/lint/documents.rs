//! Documents: the objects in files, as kubectl reads them: YAML with several documents, JSON, lists, directories.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Which files of a directory are read, by the end of their name.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// How deep directories are looked into.
const DEPTH_MAX: usize = 32;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file, as it was named.
    pub file: String,
    /// The line where it begins, from 1.
    pub line: usize,
    /// What it says, or why it cannot be read.
    pub content: Result<Value, String>,
}

/// A file and its text.
pub type Source = (String, String);

/// The texts of what was named: files, `-` for standard input, and the files of directories, in order.
pub fn read(named: &[PathBuf], recursive: bool) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            sources.push(("-".to_owned(), text));
        } else if path.is_dir() {
            let mut files = Vec::new();
            list(path, if recursive { DEPTH_MAX } else { 0 }, &mut files)?;
            if files.is_empty() {
                return Err(format!("{}: there is no file ending with .yaml, .yml or .json in it", path.display()));
            }
            for file in files {
                sources.push(source(&file)?);
            }
        } else {
            sources.push(source(path)?);
        }
    }
    Ok(sources)
}

fn source(path: &Path) -> Result<Source, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((path.display().to_string(), text))
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let wrong = |error: io::Error| format!("{}: {error}", directory.display());
    let entries = fs::read_dir(directory).map_err(wrong)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The documents of a text. Empty ones are left out, and the items of a List are documents of their own.
pub fn split(file: &str, text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            parse(file, first_line, &text[start..offset], &mut documents);
            // What follows the dashes on their line belongs to the document.
            (start, first_line) = (offset + 3, index + 1);
        }
        offset += line.len();
    }
    parse(file, first_line, &text[start..], &mut documents);
    documents
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn parse(file: &str, line: usize, text: &str, documents: &mut Vec<Document>) {
    // The document begins where its text does, not at the blank lines and comments before it.
    let mut skipped = text.lines().take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let line = line + skipped.by_ref().count();
    let mut add = |content| documents.push(Document { file: file.to_owned(), line, content });
    match serde_saphyr::from_str_with_options::<Value>(text, yaml_options()) {
        Ok(Value::Null) => {}
        Ok(value) => flatten(value, &mut add),
        Err(error) if text.trim_start().starts_with('{') => {
            let values = serde_json::Deserializer::from_str(text).into_iter::<Value>().collect::<Result<Vec<_>, _>>();
            match values {
                Ok(values) => values.into_iter().for_each(|value| flatten(value, &mut add)),
                Err(_) => add(Err(one_line(&error.to_string()))),
            }
        }
        Err(error) => add(Err(one_line(&error.to_string()))),
    }
}

/// YAML as Kubernetes reads it: `yes` and `on` are booleans, and `0755` is octal.
fn yaml_options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options
}

/// A `kind: List` stands for its items.
fn flatten(value: Value, add: &mut impl FnMut(Result<Value, String>)) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
    match value {
        Value::Object(mut object) if is_list => {
            if let Some(Value::Array(items)) = object.remove("items") {
                items.into_iter().for_each(|item| flatten(item, add));
            }
        }
        other => add(Ok(other)),
    }
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contents(text: &str) -> Vec<(usize, Value)> {
        split("f", text).into_iter().map(|it| (it.line, it.content.unwrap())).collect()
    }

    #[test]
    fn documents_are_parted_by_dashes_and_know_their_line() {
        let text = "# A comment.\na: 1\n---\n# only a comment\n---\n\nb: |\n  ---\n  text\n--- # and more\nc: 3\n";
        assert_eq!(
            contents(text),
            [(2, json!({ "a": 1 })), (7, json!({ "b": "---\ntext\n" })), (11, json!({ "c": 3 }))]
        );
    }

    #[test]
    fn values_are_those_of_kubectl() {
        let text = "a: yes\nb: \"yes\"\nc: 2027-01-01T06:00:00Z\nd: 0755\ne: 1.5\nf: null\ng: 1e3";
        let expected =
            json!({ "a": true, "b": "yes", "c": "2027-01-01T06:00:00Z", "d": 493, "e": 1.5, "f": null, "g": 1000.0 });
        assert_eq!(contents(text), [(1, expected)]);
    }

    #[test]
    fn json_may_be_several_objects_and_a_list_stands_for_its_items() {
        assert_eq!(contents("{\"a\": 1}\n{\"b\": 2}"), [(1, json!({ "a": 1 })), (1, json!({ "b": 2 }))]);
        assert_eq!(contents("kind: List\nitems: [{kind: Job}, {kind: Queue}]").len(), 2);
        assert_eq!(contents("").len(), 0);
    }

    #[test]
    fn one_document_that_cannot_be_read_hides_no_other_one() {
        let found = split("f", "a: 1\n---\nb: [\n---\nc: 3\nc: 4\n---\nd: 5\n");
        let read: Vec<bool> = found.iter().map(|it| it.content.is_ok()).collect();
        assert_eq!(read, [true, false, false, true], "{found:?}");
        assert!(found[2].content.as_ref().unwrap_err().contains("duplicate"), "{found:?}");
    }
}
