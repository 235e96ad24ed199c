//! What every fuzzer does with a template: the budget holds whatever the template says.

use emberform_jinja::{Budget, Clock, Error, Input, Template};

/// Steps that a template gets.
const STEPS: usize = 20_000;
/// Bytes of values that a template gets.
pub const BYTES: usize = 4 << 20;
/// Most bytes of an error's text: more than one that anybody reads.
const ERROR: usize = 3000;

/// Reads `source` as a template and fills it in twice; says whether it gave a text.
///
/// # Panics
/// When a text or a message is longer than promised, a line is not in the source, or the second
/// text is not the first.
pub fn fuzz_one(source: &[u8]) -> bool {
    let source = String::from_utf8_lossy(source);
    let template = match Template::parse(&source) {
        Ok(template) => template,
        Err(error) => {
            check(&error, &source);
            return false;
        }
    };
    let message = |role, content| {
        Input::Dict(vec![("role", Input::Text(role)), ("content", Input::Text(content))])
    };
    let messages = vec![
        message("system", "Be brief."),
        message("user", "Grüße, 世界 🙂"),
        message("assistant", "<think>\nhm\n</think>\n\n Hello. "),
        message("user", ""),
    ];
    let variables = [
        ("messages", Input::List(messages)),
        ("tools", Input::None),
        ("add_generation_prompt", Input::Bool(true)),
        ("bos_token", Input::Text("<s>")),
        ("n", Input::Whole(7)),
        ("f", Input::Float(2.5)),
    ];
    let render = || template.render(&variables, Budget::of(STEPS, BYTES), Clock::at(951_782_400));
    let result = render();
    match &result {
        Ok(text) => assert!(text.len() <= BYTES, "{} bytes", text.len()),
        Err(error) => check(error, &source),
    }
    assert!(render() == result, "a second text is another");
    result.is_ok()
}

fn check(error: &Error, source: &str) {
    let lines = 1 + source.matches(['\n', '\r']).count();
    assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
    let text = error.to_string();
    assert!(text.len() < ERROR, "{} bytes: {text:.200}", text.len());
}
