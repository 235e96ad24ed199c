//! Hostile templates, and how much time and memory of this thread something takes.

#![allow(dead_code, reason = "each test uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What jinja2 gives, as it was recorded.
pub fn recorded() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/chat.json");
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// What must end, and what must end in an error.
pub fn hostile() -> Vec<(&'static str, String)> {
    let doubled = |step: &str| {
        format!(
            "{{% set ns = namespace(s='x') %}}{{% for i in range(60) %}}{{% set ns.s = {step} %}}\
             {{% endfor %}}{{{{ ns.s }}}}"
        )
    };
    let in_loop = |before: &str, body: &str| {
        format!("{before}{{% for i in range(99999) %}}{body}{{% endfor %}}")
    };
    let long = "{% set s = 'a' * 8000000 %}";
    let deep = |open: &str, close: &str| {
        format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000))
    };
    let scopes = |name: &str, times: usize| {
        let names = format!("{{% set t = {}1 %}}", name.repeat(times));
        format!("{}{}{}", "{% with %}".repeat(60), in_loop("", &names), "{% endwith %}".repeat(60))
    };
    // A text as long as a budget allows, which no step has to look at again.
    let huge = "{% set s = 'ab' * 30000000 %}";
    let entries: Vec<String> = (0..100_000).map(|i| format!("{i}:{i}")).collect();
    let parameters: Vec<String> = (0..50_000).map(|i| format!("a{i}")).collect();
    let parameters = parameters.join(",");
    vec![
        ("a text doubled", doubled("ns.s + ns.s")),
        ("a text joined to itself", doubled("ns.s ~ ns.s")),
        ("a list doubled", doubled("[ns.s, ns.s]")),
        ("a text repeated", "{{ 'x' * 10**10 }}".into()),
        ("a list repeated", "{{ [1] * 10**10 }}".into()),
        ("a power of powers", "{{ 10**10**10 }}".into()),
        ("a number squared", doubled("3 * 3")
            .replace("s='x'", "s=3")
            .replace("3 * 3", "ns.s * ns.s")),
        ("a huge range", "{% for i in range(10**9) %}{% endfor %}".into()),
        ("a range over all numbers", "{{ range(-2**63, 2**62)|length }}".into()),
        ("loops in loops", in_loop("", &in_loop("", &in_loop("", "x")))),
        ("loops in loops of nothing", in_loop("", &in_loop("", ""))),
        ("brackets", deep("(", ")")),
        ("lists", deep("[", "]")),
        ("dicts", deep("{1:", "}")),
        ("not not", deep("not ", "")),
        ("minus minus", deep("-", "")),
        ("if if", deep("1 if 0 else ", "")),
        ("if in if", "{% if 1 %}".repeat(100_000)),
        ("a macro of itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into()),
        (
            "a macro of itself in brackets",
            "{% macro f() %}{% if 1 %}{% for i in [1] %}{{ ((((1 + (f()|length))))) }}{% endfor %}\
             {% endif %}{% endmacro %}{{ f() }}"
                .into(),
        ),
        (
            "two macros of each other",
            "{% macro f() %}{{ g() }}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{{ f() }}\
             {% endmacro %}{{ f() }}"
                .into(),
        ),
        (
            "a tree of macros",
            "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(18) }}"
                .into(),
        ),
        ("a default of itself", "{% macro f(a=f()) %}{% endmacro %}{{ f() }}".into()),
        (
            "a macro of many parameters",
            in_loop(&format!("{{% macro f({parameters}) %}}{{% endmacro %}}"), "{{ f() }}"),
        ),
        ("classes", "{{ ''.__class__.__mro__[1].__subclasses__() }}".into()),
        ("globals", "{{ cycler.__init__.__globals__.os.popen('id').read() }}".into()),
        ("globals of a namespace", "{{ namespace.__init__.__globals__ }}".into()),
        ("import", "{% import 'os' as os %}".into()),
        ("include", "{% include '/etc/passwd' %}".into()),
        (
            "values in values",
            in_loop("{% set ns = namespace(x=[]) %}", "{% set ns.x = [ns.x] %}"),
        ),
        (
            "a namespace in itself",
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".into(),
        ),
        ("a long join", "{{ range(99999)|join('x' * 100000) }}".into()),
        ("replaced by itself", "{% set s = 'a' * 100000 %}{{ s|replace('a', s) }}".into()),
        ("an empty text replaced", "{% set s = 'a' * 1000000 %}{{ s|replace('', s) }}".into()),
        ("a wide indent", "{{ ('a\\n' * 100000)|indent(10**9) }}".into()),
        ("many indents", "{{ ('a\\n' * 100000)|indent(100000) }}".into()),
        ("a wide indent of JSON", "{{ [1]|tojson(indent=10**12) }}".into()),
        ("many indents of JSON", "{{ range(99999)|tojson(indent=100000) }}".into()),
        (
            "a list that grows",
            in_loop("{% set ns = namespace(l=[]) %}", "{% set ns.l = ns.l + [i] %}"),
        ),
        ("sorts in a loop", in_loop("{% set l = range(99999) %}", "{% set x = l|sort %}")),
        ("unique of many", "{{ range(99999)|unique|list|length }}".into()),
        ("searches of a list", in_loop("{% set l = range(99999) %}", "{% if -1 in l %}{% endif %}")),
        ("searches of a text", in_loop(long, "{% if 'b' in s %}{% endif %}")),
        ("slow searches", in_loop(long, "{{ s.find('a' * 10000 + 'b') }}")),
        ("counts", in_loop(long, "{{ s.count('a') }}")),
        ("lengths", in_loop(long, "{{ s|length }}")),
        ("last characters", in_loop(long, "{% set t = s[-1] %}")),
        ("slices", in_loop(long, "{% set t = s[::2] %}")),
        ("titles", in_loop(long, "{% set t = s|title %}")),
        ("numbers", in_loop("{% set s = '1' * 8000000 %}", "{{ s|int }}")),
        ("strips", in_loop("{% set s = ' ' * 8000000 %}", "{{ s|trim }}")),
        ("strips of many", "{{ ('a' * 1000000).strip('b' * 1000000 + 'a') }}".into()),
        ("equal texts", in_loop(&format!("{long}{{% set t = s + '' %}}"), "{{ s == t }}")),
        ("characters", in_loop(long, "{% for c in s %}{% endfor %}")),
        ("a dict of many keys", format!("{{% set d = {{{}}} %}}", entries.join(","))),
        ("a list of lists as text", "{{ ([['x' * 1000] * 1000] * 1000)|string }}".into()),
        ("a sum of lists", "{{ ([[1] * 10000] * 10000)|sum(start=[]) }}".into()),
        ("a long text", "{% for i in range(1000) %}{{ 'x' * 10000 }}{% endfor %}".into()),
        ("many parts", "{{a}}".repeat(1_600_000)),
        ("a wide format", "{{ '%999999999d' % 1 }}".into()),
        ("a wide format of Python", "{{ '{:>999999999}'.format(1) }}".into()),
        ("centred", "{{ 'x'.center(10**9) }}".into()),
        ("batches", "{{ [1]|batch(2*10**9)|list }}".into()),
        ("lorem ipsum", "{{ lipsum(n=10**9) }}".into()),
        ("the least number", "{{ (-9223372036854775807 - 1) // -1 }}".into()),
        ("a number of 65 bits", "{{ 18446744073709551616 }}".into()),
        ("half a character", "{{ '\\ud800' }}".into()),
        ("a loop that calls itself", "{% for x in [1] recursive %}{% endfor %}".into()),
        ("comments without end", "{#".repeat(1_000_000)),
        ("quotes without end", format!("{{{{ '{}", "\\'".repeat(1_000_000))),
        ("a long indent of JSON", in_loop(huge, "{{ 1|tojson(indent=s) }}")),
        ("long separators of JSON", in_loop(huge, "{{ 1|tojson(separators=[s, s]) }}")),
        ("an indent of nothing", in_loop(huge, "{{ ''|indent(s) }}")),
        (
            "beginnings of many",
            "{% set s = 'a' * 20000000 %}{% set t = s + 'b' %}{% set u = s + 'c' %}\
             {{ t.startswith((u,) * 900000) }}"
                .into(),
        ),
        ("a long text in a short one", in_loop(huge, "{% set t = 'a'.find(s) %}")),
        ("a long text in a short one from its end", in_loop(huge, "{% set t = 'a'.rfind(s) %}")),
        ("a short text cut at a long one", in_loop(huge, "{% set t = 'a'.split(s) %}")),
        ("a short text parted at a long one", in_loop(huge, "{% set t = 'a'.partition(s) %}")),
        ("a long text counted in a short one", in_loop(huge, "{% set t = 'a'.count(s) %}")),
        ("a long text replaced in a short one", in_loop(huge, "{% set t = 'a'|replace(s, '') %}")),
        (
            "a short text stripped of a long one",
            in_loop(
                "{% set s = 'b' * 60000000 + 'a' %}{% set a = 'a' * 31 %}",
                "{% set t = a.strip(s) %}",
            ),
        ),
        ("many arguments by name", {
            let named: Vec<String> = (0..50_000).rev().map(|i| format!("a{i}=1")).collect();
            format!("{{% macro f({parameters}) %}}{{% endmacro %}}{{{{ f({}) }}}}", named.join(","))
        }),
        ("a long name", {
            let name = "n".repeat(4_000_000);
            in_loop(&format!("{{% set {name} = 1 %}}"), &format!("{{% if {name} %}}{{% endif %}}"))
        }),
        ("a long name in an error", format!("{{{{ {}.x }}}}", "n".repeat(4_000_000))),
        ("a filter of a long name", format!("{{{{ 1|{} }}}}", "n".repeat(4_000_000))),
        ("a filter of a long name in a text", format!("{huge}{{{{ [1]|map(s)|list }}}}")),
        (
            "an attribute of a long name",
            in_loop(&format!("{huge}{{% set n = namespace(a=1) %}}"), "{% set t = n[s] %}"),
        ),
        (
            "a namespace of a long name",
            in_loop(&format!("{huge}{{% set d = {{s: 1}} %}}"), "{% set t = namespace(d) %}"),
        ),
        ("an argument of a long name", format!("{huge}{{{{ 1|tojson(**{{s: 1}}) }}}}")),
        ("a long path", in_loop(huge, "{% set t = [1]|map(attribute=s)|list %}")),
        ("paths in a dict", {
            let entries: Vec<String> = (0..900).map(|i| format!("'k{i:03}': 1")).collect();
            let dict = format!("{{% set l = [{{{}}}] * 99999 %}}", entries.join(","));
            in_loop(&dict, "{% set t = l|map(attribute='zzzz')|list %}")
        }),
        ("a long time", "{% set s = '%B' * 40000000 %}{{ strftime_now(s) }}".into()),
        ("times", in_loop("{% set s = '%A' * 4000000 %}", "{% set t = strftime_now(s) %}")),
        ("lines of nothing", "{% set s = '\n' * 80000000 %}{{ s|indent }}".into()),
        ("lines", "{% set s = '\n' * 30000000 %}{{ s.splitlines() }}".into()),
        ("a slice of all", "{% set s = 'a' * 120000000 %}{{ s[1:] }}".into()),
        ("every other of all", "{% set s = 'a' * 120000000 %}{{ s[::2] }}".into()),
        ("a list in pieces", in_loop("{% set l = range(99999)|list %}", "{% set t = l[::-1] %}")),
        ("folds of case", in_loop("{% set s = 'Ä' * 30000000 %}", "{% set t = [s]|unique|list %}")),
        ("a text turned round", in_loop("{% set s = 'Ä' * 30000000 %}", "{% set t = s|reverse %}")),
        ("numbers of no order", {
            let nan = "{% set l = range(99)|list %}{% set n = ['nan'|float] %}";
            in_loop(nan, "{% set t = (l + n + l + n + n + l)|sort %}")
        }),
        (
            "an order that fails",
            "{{ ([5, 3, 8, 1, 9, 7, 2, 6, 4, 0] * 9 + ['a'] + [4, 2, 6] * 20)|sort }}".into(),
        ),
        ("keys of JSON", {
            let dict = "{% set s = 'a' * 100000000 %}{% set d = {s: 1} %}";
            in_loop(dict, "{% set t = d|tojson %}")
        }),
        ("case of a long text", in_loop(&huge.replace("ab", "AB"), "{% set t = s is upper %}")),
        ("letters of a long text", in_loop(&huge.replace("ab", "Ä"), "{% set t = s.isalpha() %}")),
        ("names in many scopes", scopes("a or ", 50_000)),
        ("long names in many scopes", scopes(&format!("{} or ", "n".repeat(250)), 20_000)),
        (
            "a refusal of a long text",
            "{% set s = 'no ' * 10000000 %}{{ [s]|map(attribute='x.' ~ s)|list }}".into(),
        ),
        ("a long wrong escape", "{{ '\\x+1' }}".into()),
        ("an attribute of many dots", "{{ [1]|map(attribute='a' ~ '.a' * 1000000)|list }}".into()),
    ]
}

/// Time that this thread has computed, where the system tells; else since the first call.
pub fn thread_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
        Some(nanos) => Duration::from_nanos(nanos),
        None => START.elapsed(),
    }
}

/// The system's allocator, which counts what each thread holds.
pub struct Counted;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    // What a thread frees may be another's; at the end of a thread there are no counters left.
    let _ = HELD.try_with(|held| {
        held.set((held.get() + more).saturating_sub(less));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: what the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: what the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are held for a moment when the memory moves.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: what the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What `run` gives, the time that it computed for, and the most bytes that it held at a time.
pub fn measured<T>(run: impl FnOnce() -> T) -> (T, Duration, usize) {
    let held = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(held));
    let start = thread_time();
    let result = run();
    (result, thread_time() - start, PEAK.with(Cell::get).saturating_sub(held))
}
