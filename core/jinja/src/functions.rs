//! The functions that a template may call, and arguments as called parts see them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::value::Value;
use super::{Budget, MAX_RANGE, Outcome, Problem};

/// A function of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Namespace,
    Dict,
    RaiseException,
    StrftimeNow,
    /// A method that was named and not called.
    Method,
}

impl Function {
    pub(super) fn find(name: &str) -> Option<Function> {
        match name {
            "range" => Some(Function::Range),
            "namespace" => Some(Function::Namespace),
            "dict" => Some(Function::Dict),
            "raise_exception" => Some(Function::RaiseException),
            "strftime_now" => Some(Function::StrftimeNow),
            _ => None,
        }
    }
}

/// Arguments of one call.
pub(super) struct Given {
    /// What is called, for messages.
    pub(super) name: Arc<str>,
    pub(super) plain: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Given {
    /// The arguments by these names; those that were not given are `None`.
    pub(super) fn bind<const N: usize>(self, names: [&str; N]) -> Outcome<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.plain.len() > N {
            let count = self.plain.len();
            return Problem::wrong(format!("gives `{}` {count} arguments, not {N}", self.name));
        }
        for (place, value) in bound.iter_mut().zip(self.plain) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|known| *known == &*name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => {
                    return Problem::wrong(format!("gives `{}` `{name}` twice", self.name));
                }
                None => return Problem::wrong(format!("gives `{}` a `{name}`", self.name)),
            }
        }
        Ok(bound)
    }

    /// No arguments.
    pub(super) fn nothing(self) -> Outcome<()> {
        self.bind([]).map(|[]| ())
    }
}

/// `range(stop)`, `range(start, stop, step)`
pub(super) fn range(given: Given, budget: &mut Budget) -> Outcome<Value> {
    let bounds: Option<Vec<i64>> = given.plain.iter().map(Value::whole).collect();
    let (start, stop, step) = match bounds.as_deref() {
        Some([stop]) => (0, *stop, 1),
        Some([start, stop]) => (*start, *stop, 1),
        Some([start, stop, step]) if *step != 0 => (*start, *stop, *step),
        _ => return Problem::wrong("calls `range` with other than one to three whole numbers"),
    };
    let distance = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
    let count = match distance {
        Some(distance) if distance <= 0 => 0,
        Some(distance) => (distance - 1) / step.checked_abs().unwrap_or(i64::MAX) + 1,
        None => i64::MAX,
    };
    if count > MAX_RANGE {
        return Problem::wrong(format!("makes a range of more than {MAX_RANGE} numbers"));
    }
    budget.steps(count as usize / 16)?;
    budget.list((0..count).map(|i| Value::Whole(start + i * step)).collect())
}

/// The time at which a template runs, in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    seconds: i64,
}

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Clock {
    /// Now.
    pub fn now() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock { seconds: since.map_or(0, |since| since.as_secs() as i64) }
    }

    /// A time in seconds after the beginning of 1970.
    pub fn at(seconds: i64) -> Clock {
        Clock { seconds }
    }

    /// The time by a format of `strftime`.
    pub(super) fn format(self, format: &str, budget: &mut Budget) -> Outcome<String> {
        budget.rewrite(format)?;
        // Two bytes of a code give up to twelve.
        budget.bytes(format.len().saturating_mul(6))?;
        let days = self.seconds.div_euclid(86_400);
        let second = self.seconds.rem_euclid(86_400);
        let (year, month, day) = date(days);
        let of_year = days - days_before(year) + 1;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
        let month_name = MONTHS[month as usize - 1];
        let half = if hour < 12 { "AM" } else { "PM" };
        let hour12 = (hour + 11) % 12 + 1;

        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut code = chars.next();
            let short = code == Some('-');
            if short {
                code = chars.next();
            }
            let mut number = |value: i64, width: usize| {
                out.push_str(&format!("{value:0width$}", width = if short { 0 } else { width }));
            };
            match code {
                Some('Y') => number(year, 4),
                Some('y') => number(year.rem_euclid(100), 2),
                Some('m') => number(month, 2),
                Some('d') => number(day, 2),
                Some('j') => number(of_year, 3),
                Some('H') => number(hour, 2),
                Some('I') => number(hour12, 2),
                Some('M') => number(minute, 2),
                Some('S') => number(second, 2),
                Some('B') => out.push_str(month_name),
                Some('b') => out.push_str(&month_name[..3]),
                Some('A') => out.push_str(weekday),
                Some('a') => out.push_str(&weekday[..3]),
                Some('p') => out.push_str(half),
                Some('Z') => out.push_str("UTC"),
                Some('z') => out.push_str("+0000"),
                Some('%') => out.push('%'),
                other => {
                    let code: String = other.into_iter().collect();
                    let known = ["%Y", "%m", "%d", "%H", "%M", "%S", "%B", "%b", "%A", "%a"];
                    return Problem::unknown(format!("`%{code}` in a time"), &known);
                }
            }
        }
        Ok(out)
    }
}

/// Days of 400 years.
const DAYS_OF_ERA: i64 = 146_097;

/// Days from 1970 to the first of a year.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    365 * (year - 1970) + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 477
}

/// Year, month and day of a count of days after the beginning of 1970.
fn date(days: i64) -> (i64, i64, i64) {
    // The calendar repeats itself after 400 years.
    let eras = days.div_euclid(DAYS_OF_ERA);
    let (year, month, day) = date_of_era(days - eras * DAYS_OF_ERA);
    (year + 400 * eras, month, day)
}

/// The date of a day in the 400 years after the beginning of 1970.
fn date_of_era(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = days - days_before(year);
    for (month, length) in lengths.into_iter().enumerate() {
        if day < length {
            return (year, month as i64 + 1, day + 1);
        }
        day -= length;
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_strftime_writes_them() {
        // Recorded with `date -u -d @SECONDS +FORMAT`.
        let cases = [
            (0, "%Y-%m-%d %H:%M:%S", "1970-01-01 00:00:00"),
            (
                951_782_399,
                "%d %B %Y, %A, day %j, %I:%M %p",
                "28 February 2000, Monday, day 059, 11:59 PM",
            ),
            (951_782_400, "%d %b %Y %a", "29 Feb 2000 Tue"),
            (1_735_689_599, "%-d/%-m/%y %j", "31/12/24 366"),
            (4_107_542_400, "%Y-%m-%d", "2100-03-01"),
            (-1, "%Y-%m-%d %H", "1969-12-31 23"),
            (-11_644_473_600, "%d.%m.%y, %a, day %j", "01.01.01, Mon, day 001"),
            (253_402_300_799, "%Y-%m-%d", "9999-12-31"),
        ];
        for (seconds, format, wanted) in cases {
            let found = Clock::at(seconds).format(format, &mut Budget::new());
            assert_eq!(found, Ok(wanted.to_string()), "{seconds}");
        }
        assert!(Clock::now().format("%Q", &mut Budget::new()).is_err());
        for seconds in [i64::MIN, i64::MAX] {
            assert!(Clock::at(seconds).format("%c %Y", &mut Budget::new()).is_err());
            assert!(Clock::at(seconds).format("%d %j %Y %y %a", &mut Budget::new()).is_ok());
        }
    }
}
