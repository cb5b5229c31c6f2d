//! Params: which parameter values are in force, whether they fit their declarations, and how a container sees them.
//!
//! Values are strings everywhere, as environment variables are; the declared type says what a string must hold. Values
//! are never shown in full in a message, and a message always names the parameter.

use std::collections::BTreeMap;
use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Number, Value};

use super::conditions::shorten;
use crate::api::job_template::{Param, ParamType, ParamValues};
use crate::api::labels::PARAM_ENV_PREFIX;

/// How many errors are listed; the rest is counted.
pub const ERRORS_MAX: usize = 20;
/// The longest name of a parameter, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// The longest value, in characters.
const VALUE_CHARACTERS_MAX: usize = 8_192;
/// How much of a value a message shows, in bytes.
const SHOWN_BYTES_MAX: usize = 64;
/// How large a compiled pattern may be, in bytes: it bounds the time that a match takes.
const PATTERN_SIZE_MAX: usize = 64 * 1024;
/// How many digits a whole number may have.
const INTEGER_DIGITS_MAX: usize = 18;

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParamError {
    /// Its name; empty when the error is about all of them.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParamError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shorten(self.name.clone(), SHOWN_BYTES_MAX);
        match name.as_str() {
            "" => write!(formatter, "params: {}", self.message),
            name => write!(formatter, "params.{name}: {}", self.message),
        }
    }
}

/// The values in force: the defaults, with each layer over those before it. Every value is checked.
pub fn resolve(declared: &[Param], layers: &[&ParamValues]) -> Result<ParamValues, Vec<ParamError>> {
    let mut errors = Errors::default();
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in layers.iter().flat_map(|layer| layer.iter()) {
        given.insert(name, value);
    }
    for name in given.keys().filter(|name| !declared.iter().any(|param| param.name == **name)) {
        errors.add(name, unknown(name, declared));
    }
    let mut values = ParamValues::new();
    for param in declared {
        let Some(value) = given.get(param.name.as_str()).copied().or(param.default.as_deref()) else {
            if param.required {
                errors.add(&param.name, "is required and was not given".into());
            }
            continue;
        };
        match check(param, value) {
            Ok(()) => {
                values.insert(param.name.clone(), value.to_owned());
            }
            Err(message) => errors.add(&param.name, message),
        }
    }
    errors.or(values)
}

/// The values of a Job without a template: nothing is declared, so that every value is text.
pub fn resolve_undeclared(values: &ParamValues) -> Result<ParamValues, Vec<ParamError>> {
    let mut errors = Errors::default();
    let mut variables = BTreeMap::new();
    for (name, value) in values {
        if let Err(message) = check_name(name).and_then(|()| check_length(value)) {
            errors.add(name, message);
        } else if let Some(other) = variables.insert(name.to_ascii_uppercase(), name) {
            errors.add(name, format!("differs from {other:?} by case only, and both would be {}", variable(name)));
        }
    }
    errors.or(values.clone())
}

/// What the API server cannot check when a template is written: that patterns compile and that defaults match them. The
/// rest is checked again, so that a template that came in under an older schema is safe too.
pub fn check_declarations(declared: &[Param]) -> Vec<ParamError> {
    let mut errors = Errors::default();
    let mut variables = BTreeMap::new();
    for param in declared {
        if let Err(message) = check_declaration(param) {
            errors.add(&param.name, message);
        } else if let Some(other) = variables.insert(param.name.to_ascii_uppercase(), &param.name) {
            let message = format!("is declared twice, or differs from {other:?} by case only");
            errors.add(&param.name, message);
        }
    }
    errors.list()
}

/// The environment variables that carry the values.
pub fn environment(values: &ParamValues) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| (variable(name), value.clone())).collect()
}

/// The values as a JSON object of their declared types, in the order of their names. What does not hold its type, or is
/// not declared, is a string.
pub fn json(declared: &[Param], values: &ParamValues) -> Value {
    let typed = |name: &str, value: &str| {
        let type_ = declared.iter().find(|param| param.name == name).and_then(|param| param.type_);
        typed_value(type_.unwrap_or_default(), value).unwrap_or_else(|| Value::String(value.to_owned()))
    };
    Value::Object(values.iter().map(|(name, value)| (name.clone(), typed(name, value))).collect())
}

/// How many characters must be added, removed or replaced to make one text of the other.
pub fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, character) in one.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(line + 1);
        for (column, candidate) in other.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&row, column) + usize::from(character != *candidate);
            next.push(replaced.min(at(&row, column + 1) + 1).min(at(&next, column) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Errors in the order in which they were found, the first few in full.
#[derive(Default)]
struct Errors {
    listed: Vec<ParamError>,
    more: usize,
}

impl Errors {
    fn add(&mut self, name: &str, message: String) {
        if self.listed.len() < ERRORS_MAX {
            self.listed.push(ParamError { name: name.to_owned(), message });
        } else {
            self.more += 1;
        }
    }

    fn list(mut self) -> Vec<ParamError> {
        if self.more > 0 {
            self.listed.push(ParamError { name: String::new(), message: format!("and {} more errors", self.more) });
        }
        self.listed
    }

    fn or<T>(self, value: T) -> Result<T, Vec<ParamError>> {
        if self.listed.is_empty() { Ok(value) } else { Err(self.list()) }
    }
}

fn variable(name: &str) -> String {
    format!("{PARAM_ENV_PREFIX}{}", name.to_ascii_uppercase())
}

fn shown(text: &str) -> String {
    format!("{:?}", shorten(text.to_owned(), SHOWN_BYTES_MAX))
}

fn unknown(name: &str, declared: &[Param]) -> String {
    let names = || declared.iter().map(|param| param.name.as_str());
    let near = |other: &str| edit_distance(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
    let allowed = 1 + name.len().min(NAME_BYTES_MAX) / 4;
    let short_enough = name.len() <= 2 * NAME_BYTES_MAX;
    let closest = names().map(|other| (near(other), other)).min().filter(|(far, _)| short_enough && *far <= allowed);
    match closest {
        Some((_, closest)) => format!("is not a parameter of the template; did you mean {closest}?"),
        None if declared.is_empty() => "is not a parameter of the template, which takes none".into(),
        None => {
            let list = names().take(ERRORS_MAX).collect::<Vec<_>>().join(", ");
            let dots = if declared.len() > ERRORS_MAX { ", …" } else { "" };
            format!("is not a parameter of the template, which takes {list}{dots}")
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|character: char| character.is_ascii_alphabetic() || character == '_');
    let goes_on = name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if starts && goes_on && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "the name must be letters, digits and underscores, not start with a digit, and be at most {NAME_BYTES_MAX} characters"
    ))
}

fn check_length(value: &str) -> Result<(), String> {
    if value.len() > VALUE_CHARACTERS_MAX && value.chars().count() > VALUE_CHARACTERS_MAX {
        return Err(format!("must be at most {VALUE_CHARACTERS_MAX} characters"));
    }
    // The kernel takes no such environment variable.
    if value.contains('\0') { Err("must not contain the character NUL".into()) } else { Ok(()) }
}

fn check_declaration(param: &Param) -> Result<(), String> {
    check_name(&param.name)?;
    let type_ = param.type_.unwrap_or_default();
    if let Some(text) = &param.pattern {
        if type_ != ParamType::String {
            return Err("pattern applies to parameters of type string only".into());
        }
        pattern(text)?;
    }
    if let (Some(minimum), Some(maximum)) = (param.minimum, param.maximum)
        && minimum > maximum
    {
        return Err(format!("minimum {minimum} is greater than maximum {maximum}"));
    }
    if let Some(default) = &param.default {
        check(param, default).map_err(|message| format!("default {message}"))?;
    }
    for value in &param.enum_ {
        check(param, value).map_err(|message| format!("enum {message}"))?;
    }
    Ok(())
}

/// Whether a value fits its declaration, and what it must be if not.
fn check(param: &Param, value: &str) -> Result<(), String> {
    check_length(value)?;
    let got = || format!("got {}", shown(value));
    let type_ = param.type_.unwrap_or_default();
    let number = match type_ {
        ParamType::String => None,
        ParamType::Boolean if matches!(value, "true" | "false") => None,
        ParamType::Boolean => return Err(format!("must be true or false, {}", got())),
        ParamType::Integer => {
            Some(Numeric::Whole(whole(value).ok_or_else(|| format!("must be a whole number, {}", got()))?))
        }
        ParamType::Number => Some(Numeric::Real(real(value).ok_or_else(|| format!("must be a number, {}", got()))?)),
    };
    if !param.enum_.is_empty() && !param.enum_.iter().any(|allowed| allowed == value) {
        let allowed = param.enum_.iter().map(|allowed| shown(allowed)).collect::<Vec<_>>().join(", ");
        return Err(format!("must be one of {}, {}", shorten(allowed, 8 * SHOWN_BYTES_MAX), got()));
    }
    if let Some(text) = param.pattern.as_deref().filter(|_| type_ == ParamType::String)
        && !pattern(text)?.is_match(value)
    {
        return Err(format!("must match the pattern {}, {}", shown(text), got()));
    }
    if let Some(number) = number {
        if let Some(minimum) = param.minimum.filter(|minimum| number.is_below(*minimum)) {
            return Err(format!("must be at least {minimum}, {}", got()));
        }
        if let Some(maximum) = param.maximum.filter(|maximum| number.is_above(*maximum)) {
            return Err(format!("must be at most {maximum}, {}", got()));
        }
    }
    Ok(())
}

/// The pattern, to be matched by a whole value.
fn pattern(text: &str) -> Result<Regex, String> {
    let compile = |text: &str| {
        let compiled = RegexBuilder::new(text).size_limit(PATTERN_SIZE_MAX).build();
        compiled.map_err(|why| format!("the pattern {} cannot be used: {why}", shown(text)))
    };
    // Compiled as it is first: two halves that are wrong alone can make one that is right within parentheses.
    compile(text)?;
    compile(&format!("^(?:{text})$"))
}

/// A number, compared exactly as far as its kind allows.
#[derive(Clone, Copy)]
enum Numeric {
    Whole(i64),
    Real(f64),
}

impl Numeric {
    fn is_below(self, minimum: f64) -> bool {
        match self {
            // A conversion of a bound beyond the range of whole numbers gives the end of the range.
            Self::Whole(number) => number < minimum.ceil() as i64,
            Self::Real(number) => number < minimum,
        }
    }

    fn is_above(self, maximum: f64) -> bool {
        match self {
            Self::Whole(number) => number > maximum.floor() as i64,
            Self::Real(number) => number > maximum,
        }
    }
}

/// A whole number of at most 18 digits, so that every language can hold it.
fn whole(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let fits = !digits.is_empty() && digits.len() <= INTEGER_DIGITS_MAX;
    (fits && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// A decimal number, with or without an exponent; not infinite, and not one of the words that stand for such.
fn real(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
    plain.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

fn typed_value(type_: ParamType, value: &str) -> Option<Value> {
    match type_ {
        ParamType::String => None,
        ParamType::Integer => whole(value).map(Value::from),
        ParamType::Number => {
            whole(value).map(Value::from).or_else(|| Number::from_f64(real(value)?).map(Value::Number))
        }
        ParamType::Boolean => value.parse().ok().map(Value::Bool),
    }
}

#[cfg(test)]
mod tests;
