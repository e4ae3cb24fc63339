//! The chat template that comes with a tokenizer, and the special tokens that it can use.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mixdown_documents::{ChatTemplateSource, TemplateDate, ToolTemplate};
use serde_json::Value;

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::end_of_text::FILES;
use crate::tokenizer::model_folder::{MAX_CONFIG_BYTES, read_capped};

/// The file in which `transformers` stores a template.
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The file, beside that one, in which it stores the template for conversations with tools.
const TOOL_TEMPLATE_FILE: &str = "additional_chat_templates/tool_use.jinja";

/// Special tokens that a template can use.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Returns the template in the file `given`; otherwise `chat_template.jinja` beside the tokenizer; otherwise that of
/// its tokenizer_config.json, of several the one called `default`. A folder's template called `tool_use` is for
/// conversations with tools; a given template is for all.
///
/// # Errors
/// There is no template, there are several without a default, or a file cannot be read.
pub(crate) fn chat_template(
    tokenizer: &Tokenizer,
    given: Option<&Path>,
    date: Option<TemplateDate>,
) -> Result<ChatTemplateSource, Error> {
    let folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    let (path, text, tool_use) = match given {
        Some(path) => (path.to_owned(), read_text(path)?.ok_or_else(|| none_in(path))?, None),
        None => in_folder(folder)?,
    };
    let tokens = role_tokens(tokenizer)?;
    Ok(ChatTemplateSource { path, text, tool_use, tokens, date })
}

/// Returns the model's special tokens by their roles, from the files beside the tokenizer or its own.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn role_tokens(tokenizer: &Tokenizer) -> Result<BTreeMap<String, String>, Error> {
    let folder = tokenizer.path().parent().unwrap_or(Path::new(""));
    let mut tokens = BTreeMap::new();
    // The first file that names a token wins, as in `transformers`.
    for file in FILES {
        let Some(config) = read_json(&folder.join(file))? else { continue };
        for role in ROLES {
            if let Some(token) = config.get(role).and_then(token_text) {
                tokens.entry(role.to_owned()).or_insert(token);
            }
        }
    }
    for role in ROLES {
        if let Some(token) = tokenizer.role(role) {
            tokens.entry(role.to_owned()).or_insert_with(|| token.to_owned());
        }
    }
    Ok(tokens)
}

fn in_folder(folder: &Path) -> Result<(PathBuf, String, Option<ToolTemplate>), Error> {
    let path = folder.join(TEMPLATE_FILE);
    if let Some(text) = read_text(&path)? {
        let tool_path = folder.join(TOOL_TEMPLATE_FILE);
        let tool_use = read_text(&tool_path)?.map(|text| ToolTemplate { path: tool_path, text });
        return Ok((path, text, tool_use));
    }
    let path = folder.join("tokenizer_config.json");
    let config = read_json(&path)?.ok_or_else(|| none_in(folder))?;
    match config.get("chat_template") {
        Some(Value::String(text)) => Ok((path, text.clone(), None)),
        Some(Value::Array(named)) => {
            let text = default_of(&path, named)?.to_owned();
            let tool_use = named_template(named, "tool_use").map(str::to_owned);
            let tool_use = tool_use.map(|text| ToolTemplate { path: path.clone(), text });
            Ok((path, text, tool_use))
        }
        _ => Err(none_in(folder)),
    }
}

/// Returns the template with this name.
fn named_template<'t>(named: &'t [Value], name: &str) -> Option<&'t str> {
    let found = named.iter().find(|template| name_of(template) == Some(name))?;
    found.get("template")?.as_str()
}

fn name_of(template: &Value) -> Option<&str> {
    template.get("name").and_then(Value::as_str)
}

/// Returns the default template.
fn default_of<'t>(path: &Path, named: &'t [Value]) -> Result<&'t str, Error> {
    named_template(named, "default").ok_or_else(|| Error::NoChatTemplate {
        path: path.to_owned(),
        expected: "a template named \"default\" among several".to_owned(),
        got: format!("those named {:?}", named.iter().filter_map(name_of).collect::<Vec<_>>()),
    })
}

fn none_in(path: &Path) -> Error {
    // A bare tokenizer.json is in the current folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let expected = format!(
        "a chat template in {TEMPLATE_FILE} or tokenizer_config.json beside tokenizer.json"
    );
    Error::NoChatTemplate { path: path.to_owned(), expected, got: "none".to_owned() }
}

/// Returns a string, or the string inside an object.
fn token_text(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

fn read_json(path: &Path) -> Result<Option<Value>, Error> {
    let bad = |source| Error::BadTokenizer { path: path.to_owned(), source };
    match read_capped(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.into())),
    }
}

fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let bad = |source| Error::BadTokenizer { path: path.to_owned(), source };
    match read_capped(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| bad(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;
    use crate::tokenizer::tests::tiny_json;
    use serde_json::json;
    use std::fs;

    fn folder(files: &[(&str, Value)]) -> PathBuf {
        let folder = tempfile::tempdir().unwrap().keep();
        fs::write(folder.join("tokenizer.json"), tiny_json().to_string()).unwrap();
        for (name, content) in files {
            let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
            fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    fn find(folder: &Path, given: Option<&Path>) -> Result<ChatTemplateSource, Error> {
        chat_template(&Tokenizer::load(folder).unwrap(), given, None)
    }

    #[test]
    fn the_given_file_wins_then_the_own_file_then_the_configuration() {
        let config = json!({
            "chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "c"}],
            "bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
        });
        let map = json!({"eos_token": "other", "pad_token": "<pad>"});
        let folder = folder(&[("tokenizer_config.json", config), ("special_tokens_map.json", map)]);
        let found = find(&folder, None).unwrap();
        assert_eq!((found.text.as_str(), found.path), ("c", folder.join("tokenizer_config.json")));
        let expected = [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")];
        let expected = expected.map(|(role, token)| (role.to_owned(), token.to_owned()));
        assert_eq!(found.tokens, expected.into());
        assert_eq!(found.tool_use, None);
        fs::write(folder.join(TEMPLATE_FILE), "own").unwrap();
        assert_eq!(find(&folder, None).unwrap().text, "own");
        let given = folder.join("given");
        fs::write(&given, "given").unwrap();
        assert_eq!(find(&folder, Some(&given)).unwrap().text, "given");
    }

    #[test]
    fn the_template_for_tools_is_found_in_both_forms() {
        let config = json!({"chat_template": [
            {"name": "default", "template": "c"}, {"name": "tool_use", "template": "t"},
        ]});
        let folder = folder(&[("tokenizer_config.json", config)]);
        let tools = |found: ChatTemplateSource| found.tool_use.map(|own| (own.text, own.path));
        let expected = ("t".to_owned(), folder.join("tokenizer_config.json"));
        assert_eq!(tools(find(&folder, None).unwrap()), Some(expected));
        fs::write(folder.join(TEMPLATE_FILE), "own").unwrap();
        assert_eq!(tools(find(&folder, None).unwrap()), None);
        fs::create_dir(folder.join("additional_chat_templates")).unwrap();
        let path = folder.join(TOOL_TEMPLATE_FILE);
        fs::write(&path, "more").unwrap();
        assert_eq!(tools(find(&folder, None).unwrap()), Some(("more".to_owned(), path.clone())));
        assert_eq!(tools(find(&folder, Some(&path)).unwrap()), None);
    }

    #[test]
    fn a_missing_template_says_what_was_looked_for() {
        let plain = folder(&[]);
        let error = find(&plain, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let words = "chat_template.jinja or tokenizer_config.json beside tokenizer.json, got none";
        assert!(error.to_string().contains(words), "{error}");
        assert!(none_in(Path::new("")).to_string().starts_with(".: expected a chat template"));
        let error = find(&plain, Some(&plain.join("gone"))).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        let named = json!({"chat_template": [{"name": "rag", "template": "t"}]});
        let error = find(&folder(&[("tokenizer_config.json", named)]), None).unwrap_err();
        assert!(error.to_string().contains("[\"rag\"]"), "{error}");
        let cut = folder(&[("tokenizer_config.json", json!("{\"chat_template\": \"x"))]);
        assert!(matches!(find(&cut, None).unwrap_err(), Error::BadTokenizer { .. }));
    }
}
