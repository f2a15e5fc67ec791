//! The types that a key's value can have.

use std::ops::RangeInclusive;

use super::table::Syntax;
use crate::words::{Word, all_words};

/// The type of a key's value.
pub(super) trait KeyValue: Sized {
    /// The limits that an entry of the table has to give; `()` for none.
    type Limits;
    /// How a value is written.
    const SYNTAX: Syntax;

    /// Refuses a value outside its limits, with the reason.
    fn check(&self, limits: Self::Limits) -> Result<(), String>;

    /// The value in a flag's text, or what was expected instead.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as a flag and the help have it.
    fn show(&self) -> String;

    /// Puts the value of a flag into `slot`.
    fn set(slot: &mut Option<Self>, text: &str) -> Result<(), String> {
        *slot = Some(Self::parse(text)?);
        Ok(())
    }
}

macro_rules! number_value {
    ($($number:ty: $expected:literal),+) => {$(
        impl KeyValue for $number {
            type Limits = RangeInclusive<$number>;
            const SYNTAX: Syntax = Syntax::Plain;

            fn check(&self, limits: Self::Limits) -> Result<(), String> {
                if limits.contains(self) {
                    return Ok(());
                }
                Err(format!("{self} is out of range: expected {} to {}", limits.start(), limits.end()))
            }

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("expected {}", $expected))
            }

            fn show(&self) -> String {
                format!("{self:?}")
            }
        }
    )+};
}
number_value!(u32: "a whole number below 2^32", u64: "a whole number below 2^64", f64: "a number");

impl KeyValue for bool {
    type Limits = ();
    const SYNTAX: Syntax = Syntax::Truth;

    fn check(&self, (): ()) -> Result<(), String> {
        Ok(())
    }

    /// Takes Python's spelling too.
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "True" | "true" | "1" => Ok(true),
            "False" | "false" | "0" => Ok(false),
            _ => Err("expected True or False".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl KeyValue for String {
    /// The length in characters.
    type Limits = RangeInclusive<usize>;
    const SYNTAX: Syntax = Syntax::Plain;

    fn check(&self, limits: Self::Limits) -> Result<(), String> {
        if limits.contains(&self.chars().count()) && !self.chars().any(char::is_control) {
            return Ok(());
        }
        Err(format!("expected {} to {} printable characters", limits.start(), limits.end()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl KeyValue for Vec<u32> {
    type Limits = ();
    const SYNTAX: Syntax = Syntax::List;

    fn check(&self, (): ()) -> Result<(), String> {
        Ok(())
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(u32::parse).collect()
    }

    fn show(&self) -> String {
        self.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    }

    /// Adds to the values that are already there.
    fn set(slot: &mut Option<Self>, text: &str) -> Result<(), String> {
        slot.get_or_insert_default().extend(Self::parse(text)?);
        Ok(())
    }
}

/// Names, none of them blank. As a flag they have commas between them; a name with a comma needs a file.
impl KeyValue for Vec<String> {
    /// The number of names, if there are any.
    type Limits = RangeInclusive<usize>;
    const SYNTAX: Syntax = Syntax::List;

    fn check(&self, limits: Self::Limits) -> Result<(), String> {
        if !self.is_empty() && !limits.contains(&self.len()) {
            return Err(format!("expected {} to {} names, not {}", limits.start(), limits.end(), self.len()));
        }
        let is_name = |name: &&String| {
            let length = name.chars().count();
            (1..=100).contains(&length) && name.trim() == name.as_str() && !name.chars().any(char::is_control)
        };
        match self.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!(
                "a name is 1 to 100 printable characters without spaces at its ends, but {name:?} is among them"
            )),
            None => Ok(()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(|name| name.trim().to_owned()).collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }

    /// Adds to the names that are already there.
    fn set(slot: &mut Option<Self>, text: &str) -> Result<(), String> {
        slot.get_or_insert_default().extend(Self::parse(text)?);
        Ok(())
    }
}

impl<T: Word> KeyValue for T {
    type Limits = ();
    const SYNTAX: Syntax = Syntax::Word(all_words::<T>);

    fn check(&self, (): ()) -> Result<(), String> {
        Ok(())
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<T>().map_err(|error| error.to_string())
    }

    fn show(&self) -> String {
        let word: &'static str = (*self).into();
        word.to_owned()
    }
}
