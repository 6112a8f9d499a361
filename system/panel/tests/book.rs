//! The book's table and picture of the LED are written from the table in the code:
//! `UPDATE_DOCS=1 cargo nextest run -p warppool-panel --test book`.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::path::PathBuf;

use warppool_panel::{Row, Sign};

const BEGIN: &str =
    "<!-- LED patterns: written from the code by UPDATE_DOCS=1 cargo nextest run -p warppool-panel -->\n";
const END: &str = "<!-- end of LED patterns -->\n";

#[test]
fn the_table_in_the_book_is_what_the_led_shows() {
    let page = read("led-and-button.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page has the line where the table begins");
    let (_, after) = rest.split_once(END).expect("the page has the line where the table ends");
    check("led-and-button.md", &format!("{before}{BEGIN}{}{END}{after}", tables()));
}

#[test]
fn the_picture_in_the_book_is_what_the_led_shows() {
    check("img/led-patterns.svg", &picture());
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_default()
}

#[track_caller]
fn check(name: &str, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(name), expected).expect("docs can be written");
    }
    assert!(
        read(name) == expected,
        "docs/{name} is not what the LED shows; write it anew with UPDATE_DOCS=1 cargo nextest run -p warppool-panel"
    );
}

fn tables() -> String {
    let mut text = String::from("\n| The LED | State | What it means |\n|---|---|---|\n");
    for Row { name, look, meaning, .. } in Sign::untouched().map(Sign::row) {
        writeln!(text, "| {look} | **{name}** | {meaning} |").expect("a string takes all");
    }
    text += "\nWith a hand on the button:\n\n| | The LED | What it means |\n|---|---|---|\n";
    for Row { name, look, meaning, .. } in Sign::TOUCHED.map(Sign::row) {
        writeln!(text, "| **{name}** | {look} | {meaning} |").expect("a string takes all");
    }
    text.push('\n');
    text
}

/// Seconds shown, pixels a second, and where the time line begins.
const SECONDS: u32 = 6;
const SECOND: u32 = 90;
const LEFT: u32 = 180;
const ROW: u32 = 30;
const TOP: u32 = 46;

/// Bars where the LED is lit, a line a sign. It carries its own background, so that it reads on light and dark pages alike.
fn picture() -> String {
    let signs: Vec<_> = Sign::untouched().chain(Sign::TOUCHED).collect();
    let width = LEFT + SECONDS * SECOND + 20;
    let height = TOP + signs.len() as u32 * ROW + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"When the LED is lit, by state, over {SECONDS} seconds\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1d2126\"/>\n<g fill=\"#9aa4ae\" text-anchor=\"middle\">\n"
    );
    let mut line = |text: String| {
        svg += &text;
        svg.push('\n');
    };
    for second in 0..=SECONDS {
        let x = LEFT + second * SECOND;
        line(format!("<text x=\"{x}\" y=\"24\">{second} s</text>"));
        line(format!("<path d=\"M{x} 32V{}\" stroke=\"#3a424a\"/>", height - 8));
    }
    line("</g>".to_owned());
    for (row, sign) in signs.into_iter().enumerate() {
        let y = TOP + row as u32 * ROW;
        line(format!("<text x=\"14\" y=\"{}\" fill=\"#f2f4f6\">{}</text>", y + 16, sign.row().name));
        line(format!(
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"1\" fill=\"#59636d\"/>",
            y + 19,
            SECONDS * SECOND
        ));
        for (from, until) in lit(sign) {
            let (x, wide) = (f64::from(LEFT) + pixels(from), pixels(until - from));
            line(format!("<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"20\" fill=\"#ffd24a\"/>"));
        }
    }
    svg += "</svg>\n";
    svg
}

fn pixels(ms: u32) -> f64 {
    f64::from(ms * SECOND) / 1000.0
}

/// The spans within the picture in which the LED is lit, milliseconds.
fn lit(sign: Sign) -> Vec<(u32, u32)> {
    let pattern = sign.pattern();
    let mut spans: Vec<(u32, u32)> = Vec::new();
    let mut at = 0;
    let mut turns = 0;
    while at < SECONDS * 1000 && pattern.times.is_none_or(|times| turns < times) {
        for step in pattern.steps() {
            let until = (at + step.ms).min(SECONDS * 1000);
            match spans.last_mut() {
                Some(last) if step.lit && last.1 == at => last.1 = until,
                _ if step.lit && at < until => spans.push((at, until)),
                _ => {}
            }
            at += step.ms;
        }
        turns += 1;
    }
    spans
}
