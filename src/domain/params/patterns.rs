//! Patterns: regular expressions that users write, and what reading and matching them may cost.
//!
//! The engine goes through a value once with a set of states and never backtracks, so a match takes time in proportion to the
//! size of the compiled pattern and to the length of the value. Both are known before a match begins: what would cost
//! more than is left of a budget is refused with a sentence instead of being tried.

use regex_lite::{Regex, RegexBuilder};

use super::shown;

/// How large a compiled pattern may be, in bytes.
pub const COMPILED_BYTES_MAX: usize = 64 * 1024;
/// How large the compiled patterns of one template may be together, in bytes.
pub const COMPILED_BYTES_MAX_TOGETHER: usize = 1024 * 1024;
/// How much the matches for one Job, or for the declarations of one template, may cost together: for each, the size of the
/// compiled pattern in bytes times the characters of the value.
pub const MATCH_COST_MAX: usize = 64 * 1024 * 1024;
/// The smallest size that is told from smaller ones.
const COMPILED_BYTES_MIN: usize = 1024;

/// A compiled pattern that whole values must match.
pub struct Pattern {
    regex: Regex,
    /// Its size, rounded up to a power of two.
    bytes: usize,
}

/// What is left to be spent.
pub struct Budget {
    compiled: usize,
    matched: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { compiled: COMPILED_BYTES_MAX_TOGETHER, matched: MATCH_COST_MAX }
    }
}

impl Budget {
    /// The pattern, to be matched by a whole value.
    pub fn compile(&mut self, text: &str) -> Result<Pattern, String> {
        let build = |text: &str, bytes: usize| RegexBuilder::new(text).size_limit(bytes).build();
        let unusable = |why: &dyn std::fmt::Display| format!("the pattern {} cannot be used: {why}", shown(text));
        // Read as it is first: two halves that are wrong alone can make one that is right within parentheses.
        build(text, COMPILED_BYTES_MAX).map_err(|why| unusable(&why))?;
        let whole = format!("^(?:{text})$");
        let mut bytes = COMPILED_BYTES_MIN;
        let regex = loop {
            match build(&whole, bytes) {
                Ok(regex) => break regex,
                Err(why) if bytes >= COMPILED_BYTES_MAX => return Err(unusable(&why)),
                Err(_) => bytes *= 2,
            }
        };
        let Some(left) = self.compiled.checked_sub(bytes) else {
            let max = COMPILED_BYTES_MAX_TOGETHER;
            let why = format!(
                "it takes {bytes} bytes when compiled, {} are left of the {max} of all parameters",
                self.compiled
            );
            return Err(unusable(&why));
        };
        self.compiled = left;
        Ok(Pattern { regex, bytes })
    }

    /// Whether a value matches; it is not tried if that costs more than is left.
    pub fn matches(&mut self, pattern: &Pattern, value: &str) -> Result<bool, String> {
        let characters = value.chars().count().saturating_add(1);
        let cost = pattern.bytes.saturating_mul(characters);
        let Some(left) = self.matched.checked_sub(cost) else {
            return Err(format!(
                "is too long for its pattern: {characters} characters times {} bytes of the compiled pattern are {cost}, \
                 {} are left of the {MATCH_COST_MAX} of all parameters",
                pattern.bytes, self.matched
            ));
        };
        self.matched = left;
        Ok(pattern.regex.is_match(value))
    }

    /// What was spent: bytes of compiled patterns, and the cost of matches.
    #[cfg(test)]
    pub fn spent(&self) -> (usize, usize) {
        (COMPILED_BYTES_MAX_TOGETHER - self.compiled, MATCH_COST_MAX - self.matched)
    }
}
