//! Params: which parameter values are in force, whether they fit their declarations, and how a container sees them.
//!
//! Values are strings everywhere, as environment variables are; the declared type says what a string must hold. Values
//! are never shown in full in a message, and a message always names the parameter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Number, Value};

use super::conditions::shorten;
use crate::api::job_template::{Param, ParamType, ParamValues};
use crate::api::labels::PARAM_ENV_PREFIX;
use patterns::{Budget, Pattern};

pub mod patterns;

/// How many errors are listed; the rest is counted.
pub const ERRORS_MAX: usize = 20;
/// The longest name of a parameter, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// The longest value, in characters.
const VALUE_CHARACTERS_MAX: usize = 8_192;
/// How much of a value a message shows, in bytes.
const SHOWN_BYTES_MAX: usize = 64;
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
        let name = beginning(&self.name).escape_debug().to_string();
        match name.as_str() {
            "" => write!(formatter, "params: {}", self.message),
            name => write!(formatter, "params.{name}: {}", self.message),
        }
    }
}

/// The values in force: the defaults, with each layer over those before it. Every value is checked.
pub fn resolve(declared: &[Param], layers: &[&ParamValues]) -> Result<ParamValues, Vec<ParamError>> {
    resolve_within(&mut Budget::default(), declared, layers)
}

fn resolve_within(
    budget: &mut Budget,
    declared: &[Param],
    layers: &[&ParamValues],
) -> Result<ParamValues, Vec<ParamError>> {
    let mut errors = Errors::default();
    let names: BTreeSet<&str> = declared.iter().map(|param| param.name.as_str()).collect();
    let given: BTreeSet<&str> = layers.iter().flat_map(|layer| layer.keys().map(String::as_str)).collect();
    for name in given.difference(&names) {
        errors.add_with(name, || unknown(name, declared));
    }
    let values = in_force(declared, layers);
    for param in declared {
        match values.get(&param.name) {
            None if param.required => errors.add(&param.name, "is required and was not given".into()),
            None => {}
            Some(value) => {
                if let Err(message) = check_value(budget, param, value) {
                    errors.add(&param.name, message);
                }
            }
        }
    }
    errors.or(values)
}

/// The values in force where it is known that they fit.
pub fn in_force(declared: &[Param], layers: &[&ParamValues]) -> ParamValues {
    let given = |name: &str| layers.iter().rev().find_map(|layer| layer.get(name));
    let value = |param: &Param| given(&param.name).or(param.default.as_ref()).cloned();
    declared.iter().filter_map(|param| Some((param.name.clone(), value(param)?))).collect()
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
    check_declarations_within(&mut Budget::default(), declared)
}

fn check_declarations_within(budget: &mut Budget, declared: &[Param]) -> Vec<ParamError> {
    let mut errors = Errors::default();
    let mut variables = BTreeMap::new();
    for param in declared {
        if let Err(message) = check_declaration(budget, param) {
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
        self.add_with(name, || message);
    }

    fn add_with(&mut self, name: &str, message: impl FnOnce() -> String) {
        if self.listed.len() < ERRORS_MAX {
            self.listed.push(ParamError { name: name.to_owned(), message: message() });
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

/// As much of a text as a message shows; of a long one no more is copied.
fn beginning(text: &str) -> String {
    shorten(text.chars().take(SHOWN_BYTES_MAX + 1).collect(), SHOWN_BYTES_MAX)
}

fn shown(text: &str) -> String {
    format!("{:?}", beginning(text))
}

fn unknown(name: &str, declared: &[Param]) -> String {
    let names = || declared.iter().map(|param| param.name.as_str());
    let near = |other: &str| edit_distance(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
    let allowed = 1 + name.len().min(NAME_BYTES_MAX) / 4;
    // Comparing takes time in proportion to both lengths, and what is much longer is near to nothing.
    let comparable = |other: &&str| name.len() <= 2 * NAME_BYTES_MAX && other.len() <= NAME_BYTES_MAX;
    let closest = names().filter(comparable).map(|other| (near(other), other)).min().filter(|(far, _)| *far <= allowed);
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

fn check_declaration(budget: &mut Budget, param: &Param) -> Result<(), String> {
    check_name(&param.name)?;
    if param.pattern.is_some() && param.type_.unwrap_or_default() != ParamType::String {
        return Err("pattern applies to parameters of type string only".into());
    }
    let pattern = pattern(budget, param)?;
    if let (Some(minimum), Some(maximum)) = (param.minimum, param.maximum)
        && minimum > maximum
    {
        return Err(format!("minimum {minimum} is greater than maximum {maximum}"));
    }
    if let Some(default) = &param.default {
        check(budget, param, pattern.as_ref(), default).map_err(|message| format!("default {message}"))?;
    }
    for value in &param.enum_ {
        check(budget, param, pattern.as_ref(), value).map_err(|message| format!("enum {message}"))?;
    }
    Ok(())
}

/// The pattern of a parameter, if it has one that applies.
fn pattern(budget: &mut Budget, param: &Param) -> Result<Option<Pattern>, String> {
    let text = param.pattern.as_deref().filter(|_| param.type_.unwrap_or_default() == ParamType::String);
    text.map(|text| budget.compile(text)).transpose()
}

/// Whether a value fits its declaration, and what it must be if not.
fn check_value(budget: &mut Budget, param: &Param, value: &str) -> Result<(), String> {
    let pattern = pattern(budget, param)?;
    check(budget, param, pattern.as_ref(), value)
}

fn check(budget: &mut Budget, param: &Param, pattern: Option<&Pattern>, value: &str) -> Result<(), String> {
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
    if let Some(pattern) = pattern
        && !budget.matches(pattern, value)?
    {
        let text = param.pattern.as_deref().unwrap_or_default();
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
