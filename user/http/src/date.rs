//! Dates of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT`. The two obsolete forms are not read: a condition on such a date is
//! ignored, and the file sent.

use alloc::string::String;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;

/// Days from 1970-01-01 to a date of the Gregorian calendar; counts from March, so that the leap day is last.
fn days_from(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month (1 to 12) and day of a day counted from 1970-01-01.
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The date of `seconds` since 1970.
#[must_use]
pub fn format(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let name = DAYS[days.rem_euclid(7) as usize];
    let month = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    alloc::format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Seconds since 1970 of a date; `None` if it is not one.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let rest = text.trim().strip_suffix(" GMT")?;
    let (_, rest) = rest.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: i64 = number(words.next()?)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|&m| m == month)? as i64 + 1;
    let year: i64 = number(words.next()?)?;
    let mut time = words.next()?.split(':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let valid = words.next().is_none() && time.next().is_none();
    let in_range = (1..=31).contains(&day) && year <= 9999 && hour < 24 && minute < 60 && second <= 60;
    (valid && in_range).then(|| days_from(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

fn number(text: &str) -> Option<i64> {
    (text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}
