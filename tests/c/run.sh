#!/usr/bin/env bash
# Tests the C library: header, exports, wrong and right uses (also under AddressSanitizer and
# valgrind), the stories in C and C++, examples, programs outside the repository.
# The last line is `N passed, N failed`.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null
# shellcheck source=examples/setup.sh
. examples/setup.sh
need_tools
for tool in gcc g++ cmake pkg-config valgrind make; do
    command -v $tool >/dev/null || {
        debian "there is no $tool, which the C tests use" gcc g++ libc6-dev cmake make pkg-config valgrind
        break
    }
done

root=$PWD
work=$(mktemp -d)
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work}
prefix=$work/prefix
passed=0 failed=0
finish() {
    local status=$?
    rm -rf -- "$work"
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] || exit 1
}
trap finish EXIT

# check NAME COMMAND...: counts one check, and shows what a failing one printed.
check() {
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $name"
        cat "$work/out"
    fi
}

# counted NAME COMMAND...: a program that counts its own checks.
counted() {
    local name=$1 status=0 counts
    shift
    "$@" >"$work/out" 2>&1 || status=$?
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$work/out" | tail -n 1)
    [ -n "$counts" ] || counts="0 1"
    if [ "$status" != 0 ] && [ "${counts#* }" = 0 ]; then counts="${counts% *} 1"; fi
    passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
    if [ "${counts#* }" != 0 ]; then
        echo "failed: $name"
        cat "$work/out"
    else
        echo "$name: ${counts% *} passed"
        grep '^resident' "$work/out" || true
    fi
}

# The header is what the sources make, and `unsafe` stands where it is said to.
current() { CARGO_TARGET_DIR=target/header cargo run -q --manifest-path bindings-c/header/Cargo.toml -- check; }
check "the header is current" current
confined() { ! grep -ln 'unsafe {\|unsafe fn\|unsafe impl' bindings-c/src/*.rs | grep -v '/raw\.rs$'; }
check "unsafe is in one file" confined

# The codes of the core are the statuses of the header, by name and number.
codes() {
    sed -n 's/^    \([A-Z][A-Za-z]*\) = \(1[0-9][0-9]\),$/\1 \2/p' core/src/error.rs |
        sed 's/\([a-z]\)\([A-Z]\)/\1_\2/g' | tr '[:lower:]' '[:upper:]' |
        sed 's/^\(.*\) \(.*\)/EMBER_ERROR_\1 = \2/' >"$work/core"
    grep -o 'EMBER_ERROR_[A-Z_]* = 1[0-8][0-9]' bindings-c/include/emberform.h >"$work/header"
    [ -s "$work/core" ] && diff <(sort "$work/core") <(sort "$work/header")
}
check "the codes" codes

# The header by itself, twice, as C99 and C++11; the C++ header as C++17 and C++20.
strict="-Wall -Wextra -Wpedantic -Werror -fsyntax-only -Ibindings-c/include"
cat >"$work/twice.c" <<'C'
#include <emberform.h>
#include <emberform.h>
ember_open_options a = EMBER_OPEN_OPTIONS_INIT;
ember_embed_options b = EMBER_EMBED_OPTIONS_INIT;
ember_generate_options c = EMBER_GENERATE_OPTIONS_INIT;
ember_forward_options d = EMBER_FORWARD_OPTIONS_INIT;
ember_run_options e = EMBER_RUN_OPTIONS_INIT;
ember_fill_options f = EMBER_FILL_OPTIONS_INIT;
ember_classify_options g = EMBER_CLASSIFY_OPTIONS_INIT;
ember_token_options h = EMBER_TOKEN_OPTIONS_INIT;
ember_answer_options i = EMBER_ANSWER_OPTIONS_INIT;
ember_zero_shot_options j = EMBER_ZERO_SHOT_OPTIONS_INIT;
ember_word_options k = EMBER_WORD_OPTIONS_INIT;
ember_beam_options l = EMBER_BEAM_OPTIONS_INIT;
C
printf '#include <emberform.hpp>\n#include <emberform.hpp>\n' >"$work/twice.cpp"
# shellcheck disable=SC2086 # several words
{
    check "C99" gcc -std=c99 $strict "$work/twice.c"
    check "C++11" g++ -std=c++11 $strict -x c++ "$work/twice.c"
    check "C++17" g++ -std=c++17 $strict "$work/twice.cpp"
    check "C++20" g++ -std=c++20 $strict "$work/twice.cpp"
}

# One command installs.
check "install" bindings-c/install.sh --prefix "$prefix"
[ "$failed" = 0 ] || exit 1
library=$prefix/lib/libemberform.so
exports() {
    nm -D --defined-only "$library" | awk '{ print $NF }' | sort >"$work/exported"
    grep -o '\bember_[a-z_]*(' bindings-c/include/emberform.h | tr -d '(' | sort -u >"$work/declared"
    [ -s "$work/declared" ] && diff "$work/exported" "$work/declared"
}
check "exactly the header's functions are exported" exports
shown() { nm -g --defined-only "$prefix/lib/libemberform.a" | awk 'NF == 3 { print $3 }' | sort | diff - "$work/declared"; }
check "the static library shows no other name" shown
soname() { readelf -d "$library" | grep -q 'SONAME.*\[libemberform\.so\.0\.1\]'; }
check "the soname" soname
libraries() {
    cargo rustc --release -p emberform-c --lib --crate-type staticlib -- --print native-static-libs 2>&1 |
        sed -n 's/^note: native-static-libs: //p' >"$work/native"
    # cargo says nothing when it has nothing to do.
    [ ! -s "$work/native" ] || diff "$work/native" bindings-c/native-static-libs
}
check "what a static link needs" libraries

# Small models for them: an encoder, a decoder, that decoder with a chat template, tasks, word vectors, an
# encoder-decoder, a mixture of experts, and that with a token that breaks it.
golden=$work/golden
mkdir "$golden"
cp -R tests/golden/checkpoints/st-prompts tests/golden/checkpoints/st-decoder tests/golden/checkpoints/task-* tests/golden/words tests/golden/README.md "$golden"
cp -R tests/golden/checkpoints/t5 tests/golden/checkpoints/bert-mlm tests/golden/checkpoints/mixtral "$golden"
# Token 46 of this one is no number.
cp -R tests/golden/checkpoints/mixtral "$golden/not-finite"
python3 - "$golden/not-finite/model.safetensors" <<'PY'
import json, pathlib, struct, sys
file = pathlib.Path(sys.argv[1])
data = bytearray(file.read_bytes())
start = 8 + int.from_bytes(data[:8], "little")
table = json.loads(data[8:start])["model.embed_tokens.weight"]
rows, width = table["shape"]
at = start + table["data_offsets"][0] + 4 * 46 * width
data[at : at + 4 * width] = struct.pack("<f", float("nan")) * width
file.write_bytes(data)
PY
cp -R tests/golden/checkpoints/st-decoder "$golden/chat"
cat >"$golden/chat/chat_template.jinja" <<'JINJA'
{%- for m in messages %}{% if m.role == 'critic' %}{{ raise_exception('no critics') }}{% endif %}{{ m.role[0] + m.content + '\n' }}{% endfor %}{{ short if short is defined else '' }}a
JINJA

# Programs of the tests: plainly, under AddressSanitizer, under valgrind.
use="-I$prefix/include -L$prefix/lib -Wl,-rpath,$prefix/lib"
for name in misuse work tasks stories; do
    # shellcheck disable=SC2086
    check "compile $name" gcc -std=gnu11 -g -Wall -Wextra -Werror tests/c/$name.c -o "$work/$name" $use -lemberform -lpthread
    # shellcheck disable=SC2086
    check "compile $name with AddressSanitizer" gcc -fsanitize=address,undefined -std=gnu11 -g tests/c/$name.c -o "$work/$name-asan" $use -lemberform -lpthread
done
# Under valgrind the library with all its names, so that what it finds can be told apart.
mkdir "$work/named"
ln -s "$(realpath "${CARGO_TARGET_DIR:-target}")/release/libemberform_c.so" "$work/named/libemberform.so.0.1"
valgrind="env LD_LIBRARY_PATH=$work/named valgrind -q --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=9 --suppressions=tests/c/valgrind.supp"
counted "wrong uses" "$work/misuse" "$golden"
counted "wrong uses, AddressSanitizer" "$work/misuse-asan" "$golden"
# shellcheck disable=SC2086
counted "wrong uses, valgrind" $valgrind "$work/misuse" "$golden" quick
counted "right uses" "$work/work" "$golden"
counted "right uses, AddressSanitizer" "$work/work-asan" "$golden" quick
# shellcheck disable=SC2086
counted "right uses, valgrind" $valgrind "$work/work" "$golden" quick

# Tasks as the pipelines of transformers answer them.
counted "tasks" python3 tests/c/tasks.py "$golden" "$work/tasks"
counted "tasks, AddressSanitizer" python3 tests/c/tasks.py "$golden" "$work/tasks-asan" quick
counted "tasks, valgrind" python3 tests/c/tasks.py "$golden" "$valgrind $work/tasks" quick

# Memory that runs out, and the C++ header.
# shellcheck disable=SC2086
{
    check "compile memory" gcc -std=gnu11 -g -Wall -Wextra -Werror tests/c/memory.c -o "$work/memory" $use -lemberform
    check "compile wrapper" g++ -std=c++17 -g -Wall -Wextra -Wpedantic -Werror tests/c/wrapper.cpp -o "$work/wrapper" $use -lemberform -lpthread
    check "compile wrapper as C++20, with AddressSanitizer" g++ -fsanitize=address,undefined -std=c++20 -g -Wall -Wextra -Wpedantic -Werror tests/c/wrapper.cpp -o "$work/wrapper-asan" $use -lemberform -lpthread
}
counted "memory that runs out" "$work/memory" "$golden"
counted "C++" "$work/wrapper" "$golden"
counted "C++, AddressSanitizer" "$work/wrapper-asan" "$golden"

# The same numbers as Rust, in C and in C++.
# shellcheck disable=SC2086
check "compile stories.cpp" g++ -std=c++17 -Wall -Wextra -Werror tests/c/stories.cpp -o "$work/stories++" $use -lemberform
stories() {
    "${CARGO_TARGET_DIR:-target}/release/stories" . "$work/rust.json" &&
        python3 tests/c/stories.py . "$work/c.json" "$work/stories" &&
        python3 tests/c/stories.py . "$work/c++.json" "$work/stories++" &&
        python3 tests/stories/compare.py "$work/rust.json" "$work/c.json" "$work/c++.json"
}
[ -x "${CARGO_TARGET_DIR:-target}/release/stories" ] || cargo build --release --bin stories
check "the stories in Rust, C and C++" stories

# What a call costs over the core's own, printed and not judged: machines are busy.
# shellcheck disable=SC2086
check "compile bench.c" gcc -std=gnu11 -O1 -Wall -Wextra -Werror tests/c/bench.c -o "$work/bench" $use -lemberform
calls=(tests/golden/checkpoints/st-prompts tests/golden/checkpoints/st-decoder "a cat sat" 1000)
check "the benchmark" "$work/bench" "${calls[@]}"
echo "least and median ns of a call, C:    $(cat "$work/out")"
core=${CARGO_TARGET_DIR:-target}/release/examples/core_call
if [ -x "$core" ]; then echo "least and median ns of a call, core: $("$core" "${calls[@]}")"; fi

# Examples, compiled and run.
for name in first embed generate chat inspect; do
    # shellcheck disable=SC2086
    check "compile $name.c" gcc -std=c99 -Wall -Wextra -Wpedantic -Werror examples/c/$name.c -o "$work/$name" $use -lemberform
done
# shellcheck disable=SC2086
check "compile search.cpp" g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror examples/c/search.cpp -o "$work/search" $use -lemberform
# prints PATTERN COMMAND...
prints() {
    local pattern=$1
    shift
    "$@" >"$work/printed" && grep -q "$pattern" "$work/printed"
}
check "first.c" prints '^0\.[4-9][0-9] and -*0\.[0-3]' "$work/first"
check "embed.c" prints '^  1\.00  0\.5.* windowsill' "$work/embed" models/minilm cpu
cat >"$work/paragraphs" <<'TEXT'
Simmer the tomatoes for an hour and add basil at the end.

Refunds reach your card within five days of the return.

Strong winds and heavy rain are expected along the coast tonight.
TEXT
search=("$work/paragraphs" "How long until I get my money back?" "$root/models/minilm" cpu)
check "search.cpp" prints '^0\.[5-9].*Refunds reach your card' "$work/search" "${search[@]}"
check "generate.c" prints '^\[length: 32 tokens' "$work/generate" models/gemma3-270m-q4_k_m.gguf cpu
check "chat.c" prints '^\[[0-9]* tokens read' "$work/chat" models/qwen25-coder-0.5b-q4_k_m.gguf cpu "What is 2 + 2?"
check "inspect.c" prints '^cpu agrees with the CPU' "$work/inspect" models/minilm cpu

# A program outside the repository, with pkg-config and with CMake, shared and static.
mkdir "$work/consumer"
cp tests/c/consumer/CMakeLists.txt examples/c/embed.c examples/c/search.cpp "$work/consumer/"
cd "$work/consumer"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
pkg() { gcc embed.c -o "$1" $(pkg-config --cflags emberform) $2 && prints '^  1\.00' "./$1" "$root/models/minilm" cpu; }
check "pkg-config, shared" pkg shared "$(pkg-config --libs emberform) -Wl,-rpath,$prefix/lib"
check "pkg-config, static" pkg static "$prefix/lib/libemberform.a $(pkg-config --static --libs-only-l emberform | sed 's/-lemberform//')"
build() { cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" && cmake --build build; }
check "CMake" build
for name in embed embed_static; do
    check "CMake, $name" prints '^  1\.00' "build/$name" "$root/models/minilm" cpu
done
check "CMake, search" prints '^0\.[5-9].*Refunds reach your card' build/search "${search[@]}"
cd "$root"
