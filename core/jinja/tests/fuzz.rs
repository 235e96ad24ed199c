//! Templates made by chance out of pieces of recorded and hostile ones: nothing panics, and the
//! budget bounds time and memory. The same cases each time; `fuzz/` has a fuzzer that learns.

mod common;
#[path = "../fuzz/one.rs"]
mod one;

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::time::Duration;

use common::{Counted, hostile, measured, recorded};
use one::{BYTES, fuzz_one};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Templates that are tried.
const CASES: usize = 20_000;
/// Longest template that is taken to pieces, in bytes.
const LONGEST: usize = 4096;

/// Values that others are made of; some are not what they look like.
const VALUES: &str = "0 -1 7 2.5 1e308 9223372036854775807 -9223372036854775807-1 true none '' 'a' \
    'aBc' 'a\\nb\\r\\n' 'Grüße,\u{a0}世界' '\\x00\\u2028' '1_0' 'nan'|float 'inf'|float 'x'*100000 \
    'ä,'*9999 [] [3,1,2] ['b','A',1] [[1,2],(1,3)] (1,) range(100)|list range(1000) \
    ['nan'|float,2,1]*20 {} {'a':1,'b':{'a':2}} {1:'x',2.5:[]} namespace(a=1) loop loop.previtem \
    messages messages[1].content messages[0] x x y y.a n f bos_token tools missing f() range \
    strftime_now('%d.%B') dict(a=1) raise_exception";
const OPERATORS: &str = "+ - * / // % ** ~ == != < <= > >= in and or";
const FILTERS: &str = "abs capitalize count d default dictsort first float indent int items join last \
    length list lower map max min reject rejectattr replace reverse round safe select selectattr \
    sort string sum title tojson trim unique upper batch";
const TESTS: &str = "boolean callable defined divisibleby eq equalto even false float ge gt in \
    integer iterable le lower lt mapping ne none number odd sequence string true undefined upper \
    sameas";
const METHODS: &str = "capitalize count endswith find index isalnum isalpha isdigit islower isspace \
    isupper join lower lstrip partition removeprefix removesuffix replace rfind rpartition rsplit \
    rstrip split splitlines startswith strip swapcase title upper get items keys values cycle a \
    role __class__";
/// What arguments are called.
const NAMES: &str = "attribute default boolean indent separators sort_keys reverse case_sensitive by \
    precision method start width first a b";

/// One of the words of a list.
fn word(list: &'static str, chance: &mut Chance) -> &'static str {
    let words: Vec<&str> = list.split_whitespace().collect();
    chance.of(&words)
}

/// Arguments of a call.
fn arguments(depth: usize, chance: &mut Chance) -> String {
    let mut arguments = Vec::new();
    for _ in 0..chance.below(4) {
        let value = value(depth, chance);
        arguments.push(match chance.below(8) {
            0 => format!("{}={value}", word(NAMES, chance)),
            1 => format!("*{value}"),
            2 => format!("**{value}"),
            // Names of filters, tests and attributes are texts.
            3 => format!("'{}'", word(chance.of(&[FILTERS, TESTS, NAMES]), chance)),
            _ => value,
        });
    }
    arguments.join(", ")
}

/// An expression.
fn value(depth: usize, chance: &mut Chance) -> String {
    if depth == 0 || chance.below(5) == 0 {
        return format!("({})", word(VALUES, chance));
    }
    let depth = depth - 1;
    let first = value(depth, chance);
    match chance.below(12) {
        0 | 1 => format!("({first} {} {})", word(OPERATORS, chance), value(depth, chance)),
        2 | 3 => format!("{first}|{}", word(FILTERS, chance)),
        4 | 5 => format!("{first}|{}({})", word(FILTERS, chance), arguments(depth, chance)),
        6 => format!("({first} is {}({}))", word(TESTS, chance), arguments(depth, chance)),
        7 => format!("{first}.{}({})", word(METHODS, chance), arguments(depth, chance)),
        8 => match chance.below(4) {
            0 => format!("{first}.{}", word(METHODS, chance)),
            1 => format!("{first}[{}]", value(depth, chance)),
            2 => format!("{first}[{}:{}]", value(depth, chance), value(depth, chance)),
            _ => format!("{first}[::{}]", value(depth, chance)),
        },
        9 => format!("[{first}, {}]", value(depth, chance)),
        10 => format!("{{{first}: {}}}", value(depth, chance)),
        _ => format!("({first} if {} else {})", value(depth, chance), value(depth, chance)),
    }
}

/// A part of a template.
fn part(depth: usize, chance: &mut Chance) -> String {
    let first = value(1 + chance.below(3), chance);
    if depth == 0 {
        return format!("{{{{ {first} }}}}");
    }
    let inner = part(depth - 1, chance) + &part(depth - 1, chance);
    let name = word("x y x,y y.a", chance);
    match chance.below(8) {
        0 => format!("{{% if {first} %}}{inner}{{% else %}}{}{{% endif %}}", part(0, chance)),
        1 => format!("{{% for {name} in {first} %}}{inner}{{% endfor %}}"),
        2 => format!("{{% for x in {first} if {} %}}{inner}{{% endfor %}}", value(1, chance)),
        3 => format!("{{% with {name} = {first} %}}{inner}{{% endwith %}}"),
        4 => format!("{{% set x %}}{inner}{{% endset %}}{{{{ x }}}}"),
        5 => format!("{{% filter {} %}}{inner}{{% endfilter %}}", word(FILTERS, chance)),
        6 => format!("{{% macro f(a, b={first}) %}}{inner}{{% endmacro %}}{{{{ f(1) }}}}"),
        _ => format!("{{% set {name} = {first} %}}{inner}"),
    }
}

/// Numbers by chance, the same each time (xorshift).
struct Chance(u64);

impl Chance {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// Each template that there is, short enough to be taken to pieces.
fn seeds() -> Vec<String> {
    let recorded = recorded();
    let prelude = recorded["prelude"].as_str().expect("a prelude");
    let sources = |list: &str| {
        let cases = recorded[list].as_array().expect("cases").iter();
        cases.map(|case| case[0].as_str().expect("a template").to_string()).collect::<Vec<_>>()
    };
    let mut seeds = vec![prelude.to_string()];
    seeds.extend(sources("expressions").iter().map(|source| format!("{{{{ {source} }}}}")));
    seeds.extend(sources("statements"));
    let families = recorded["families"].as_array().expect("families").iter();
    seeds.extend(families.map(|f| f["template"].as_str().expect("a template").to_string()));
    seeds.extend(hostile().into_iter().map(|(_, template)| template));
    seeds.retain(|seed| seed.len() <= LONGEST);
    seeds
}

/// A template in pieces: words, runs of white space, and single signs.
fn pieces(source: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        c if c.is_whitespace() => 1,
        '{' | '}' | '%' => 2,
        _ => 3,
    };
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (at, c) in source.char_indices() {
        if at > 0 && (last != Some(kind(c)) || kind(c) == 3) {
            pieces.push(&source[start..at]);
            start = at;
        }
        last = Some(kind(c));
    }
    pieces.push(&source[start..]);
    pieces
}

/// A template made of others.
fn spliced(seeds: &[Vec<&str>], chance: &mut Chance) -> String {
    let mut made = chance.of(seeds);
    for _ in 0..1 + chance.below(3) {
        let at = chance.below(made.len() + 1);
        let end = (at + 1 + chance.below(4)).min(made.len()).max(at);
        let other = chance.of(seeds);
        let from = chance.below(other.len());
        let to = (from + 1 + chance.below(8)).min(other.len());
        match chance.below(5) {
            0 => drop(made.splice(at..at, other[from..to].iter().copied())),
            1 => drop(made.splice(at..end, other[from..to].iter().copied())),
            2 => drop(made.drain(at..end)),
            3 => {
                let again = made[at..end].repeat(1 + chance.below(3));
                drop(made.splice(at..at, again));
            }
            _ => made.insert(at, word(VALUES, chance)),
        }
    }
    made.concat()
}

#[test]
fn the_budget_holds_whatever_a_template_says() {
    let seeds = seeds();
    let seeds: Vec<_> = seeds.iter().map(|seed| pieces(seed)).collect();
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let mut rendered = 0;
    for case in 0..CASES {
        let source = match case % 4 {
            0 => spliced(&seeds, &mut chance),
            _ => part(1 + chance.below(2), &mut chance),
        };
        let run = || catch_unwind(|| fuzz_one(source.as_bytes()));
        let (result, time, bytes) = measured(run);
        match result {
            Ok(text) => rendered += usize::from(text),
            Err(_) => panic!("panics: {source}"),
        }
        // Twice the steps, a microsecond each, and room for a machine that is slow and busy.
        assert!(time < Duration::from_secs(1), "takes {time:?}: {source}");
        let most = 3 * BYTES + 200 * source.len();
        assert!(bytes < most, "takes {bytes} bytes, more than {most}: {source}");
    }
    assert!(rendered > CASES / 20, "only {rendered} of {CASES} came to a text");
}

/// The seeds and words of the fuzzer that learns, written for it where `EMBERFORM_SEEDS` says so
/// (`fuzz/corpus/template`, say), else to a folder that goes again.
#[test]
fn seeds_for_libfuzzer() {
    let asked = std::env::var_os("EMBERFORM_SEEDS").map(std::path::PathBuf::from);
    let own = std::env::temp_dir().join(format!("emberform-seeds-{}", std::process::id()));
    let folder = asked.clone().unwrap_or_else(|| own.clone());
    std::fs::create_dir_all(&folder).expect("a folder");
    let seeds = seeds();
    for (i, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{i}")), seed).expect("a file");
    }
    let lists = [VALUES, OPERATORS, FILTERS, TESTS, METHODS, NAMES];
    let words: BTreeSet<_> = lists.iter().flat_map(|list| list.split_whitespace()).collect();
    let line = |word: &str| {
        let escaped: String = word.bytes().map(|b| format!("\\x{b:02x}")).collect();
        format!("\"{escaped}\"\n")
    };
    let dictionary: String = words.iter().copied().map(line).collect();
    std::fs::write(folder.join("words"), &dictionary).expect("a file");
    let written = std::fs::read_dir(&folder).expect("the folder").count();
    if asked.is_none() {
        std::fs::remove_dir_all(&own).expect("a folder of our own");
    }
    assert!(!seeds.is_empty() && written > seeds.len(), "{written} files of {} seeds", seeds.len());
    assert_eq!(dictionary.lines().count(), words.len());
}
