//! The inner loop of products of floats in AVX-512, by hand: up to twelve rows of `x` times a panel of
//! 32 rows of `w`.
//!
//! A compiler takes 52 instructions for 24 multiplications, of which ten compute addresses. That is
//! more than one thread of a core is given while the other one works (three a cycle, where two
//! multiplications are possible), so that it costs a third of the speed there. Here they are 37: rows
//! are addressed in threes, from one pointer and the distance of two rows, and the first of the three
//! is spread over the lanes by the multiplication itself (which takes no more where an address has no
//! index).

use std::arch::asm;

use super::features::Avx512;
use super::simd::{Ahead, MOST};

/// Rows of `w` in a panel.
const PANEL: usize = 32;

/// Numbers of a row in one turn of the loop.
const TURN: usize = 4;

/// Two multiplications with row `$row`, at the end of which `$at` is added to its address.
macro_rules! row {
    (0, $at:literal) => {
        first!("0", "1", "a", $at)
    };
    (1, $at:literal) => {
        other!("2", "3", "a", "", $at)
    };
    (2, $at:literal) => {
        other!("4", "5", "a", "2*", $at)
    };
    (3, $at:literal) => {
        first!("6", "7", "b", $at)
    };
    (4, $at:literal) => {
        other!("8", "9", "b", "", $at)
    };
    (5, $at:literal) => {
        other!("10", "11", "b", "2*", $at)
    };
    (6, $at:literal) => {
        first!("12", "13", "c", $at)
    };
    (7, $at:literal) => {
        other!("14", "15", "c", "", $at)
    };
    (8, $at:literal) => {
        other!("16", "17", "c", "2*", $at)
    };
    (9, $at:literal) => {
        first!("18", "19", "d", $at)
    };
    (10, $at:literal) => {
        other!("20", "21", "d", "", $at)
    };
    (11, $at:literal) => {
        other!("22", "23", "d", "2*", $at)
    };
}

/// The first row of three.
macro_rules! first {
    ($low:literal, $high:literal, $from:literal, $at:literal) => {
        concat!(
            "vfmadd231ps zmm",
            $low,
            ", zmm24, dword ptr [{",
            $from,
            "} + 4*",
            $at,
            "]{{1to16}}\n",
            "vfmadd231ps zmm",
            $high,
            ", zmm25, dword ptr [{",
            $from,
            "} + 4*",
            $at,
            "]{{1to16}}\n",
        )
    };
}

/// The second or third.
macro_rules! other {
    ($low:literal, $high:literal, $from:literal, $times:literal, $at:literal) => {
        concat!(
            "vbroadcastss zmm26, dword ptr [{",
            $from,
            "} + ",
            $times,
            "{row} + 4*",
            $at,
            "]\n",
            "vfmadd231ps zmm",
            $low,
            ", zmm24, zmm26\n",
            "vfmadd231ps zmm",
            $high,
            ", zmm25, zmm26\n",
        )
    };
}

/// The sums of a row as they begin, and where they go.
macro_rules! ends {
    (0) => {
        ends!("0", "1", "0")
    };
    (1) => {
        ends!("2", "3", "1")
    };
    (2) => {
        ends!("4", "5", "2")
    };
    (3) => {
        ends!("6", "7", "3")
    };
    (4) => {
        ends!("8", "9", "4")
    };
    (5) => {
        ends!("10", "11", "5")
    };
    (6) => {
        ends!("12", "13", "6")
    };
    (7) => {
        ends!("14", "15", "7")
    };
    (8) => {
        ends!("16", "17", "8")
    };
    (9) => {
        ends!("18", "19", "9")
    };
    (10) => {
        ends!("20", "21", "10")
    };
    (11) => {
        ends!("22", "23", "11")
    };
    ($low:literal, $high:literal, $row:literal) => {
        concat!(
            "vmovups [{to} + 128*",
            $row,
            "], zmm",
            $low,
            "\n",
            "vmovups [{to} + 128*",
            $row,
            " + 64], zmm",
            $high,
            "\n",
        )
    };
}

/// The products of one number of each row.
macro_rules! number {
    ($at:literal, $($row:tt)*) => {
        concat!(
            "vmovups zmm24, [{w} + 128*", $at, "]\n",
            "vmovups zmm25, [{w} + 128*", $at, " + 64]\n",
            "prefetcht1 [{next} + 64*", $at, "]\n",
            $(row!($row, $at),)*
        )
    };
}

/// The loop for some rows.
macro_rules! rows {
    ($all:expr, $($row:tt)*) => {{
        let LoopArgs { w, x, apart, turns, next, step, to } = $all;
        // Pointers to rows that are not there are not followed.
        let three = |i: usize| x.wrapping_byte_add(3 * i * apart);
        asm!(
            "vpxord zmm0, zmm0, zmm0", "vpxord zmm1, zmm1, zmm1", "vpxord zmm2, zmm2, zmm2",
            "vpxord zmm3, zmm3, zmm3", "vpxord zmm4, zmm4, zmm4", "vpxord zmm5, zmm5, zmm5",
            "vpxord zmm6, zmm6, zmm6", "vpxord zmm7, zmm7, zmm7", "vpxord zmm8, zmm8, zmm8",
            "vpxord zmm9, zmm9, zmm9", "vpxord zmm10, zmm10, zmm10", "vpxord zmm11, zmm11, zmm11",
            "vpxord zmm12, zmm12, zmm12", "vpxord zmm13, zmm13, zmm13", "vpxord zmm14, zmm14, zmm14",
            "vpxord zmm15, zmm15, zmm15", "vpxord zmm16, zmm16, zmm16", "vpxord zmm17, zmm17, zmm17",
            "vpxord zmm18, zmm18, zmm18", "vpxord zmm19, zmm19, zmm19", "vpxord zmm20, zmm20, zmm20",
            "vpxord zmm21, zmm21, zmm21", "vpxord zmm22, zmm22, zmm22", "vpxord zmm23, zmm23, zmm23",
            ".p2align 5",
            "2:",
            number!("0", $($row)*),
            number!("1", $($row)*),
            number!("2", $($row)*),
            number!("3", $($row)*),
            "add {w}, 512",
            "add {next}, {step}",
            "add {a}, 16",
            "add {b}, 16",
            "add {c}, 16",
            "add {d}, 16 # {row}",
            "dec {turns}",
            "jnz 2b",
            concat!($(ends!($row),)*),
            w = inout(reg) w => _,
            next = inout(reg) next => _,
            step = in(reg) step,
            a = inout(reg) x => _,
            b = inout(reg) three(1) => _,
            c = inout(reg) three(2) => _,
            d = inout(reg) three(3) => _,
            row = in(reg) apart,
            turns = inout(reg) turns => _,
            to = in(reg) to,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _,
            out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _,
            out("zmm26") _,
            options(nostack),
        );
    }};
}

/// What the loop is given.
struct LoopArgs {
    w: *const f32,
    x: *const f32,
    /// Bytes from a row of `x` to the next.
    apart: usize,
    turns: usize,
    /// What is asked for meanwhile, and bytes of it a turn.
    next: *const u8,
    step: usize,
    to: *mut [f32; PANEL],
}

/// The sums of as many rows of `x`, `k` apart, as `to` has, with a panel `[depth][32]`.
///
/// The order of additions is that of [`tile`](super::product::tile).
pub(super) fn rows(
    _: Avx512,
    panel: &[f32],
    x: &[f32],
    k: usize,
    next: Ahead,
    to: &mut [[f32; PANEL]],
) {
    let (depth, count) = (panel.len() / PANEL, to.len());
    assert!(
        (1..=MOST).contains(&count) && depth > 0 && depth.is_multiple_of(TURN),
        "{count} rows of {depth}"
    );
    assert!(x.len() >= (count - 1) * k + depth, "rows of x");
    let (next, step) = match next.a_turn() {
        // Of what is there already: to look for a page that is none takes long.
        (_, 0) => (panel.as_ptr().cast(), 0),
        next => next,
    };
    let all = LoopArgs {
        w: panel.as_ptr(),
        x: x.as_ptr(),
        apart: 4 * k,
        turns: depth / TURN,
        next,
        step,
        to: to.as_mut_ptr(),
    };
    // SAFETY: an `Avx512` proves the features. The loop reads `depth` lines of the panel and as many
    // numbers of each row, compared above, and writes the rows of `to`; a prefetch reads nothing.
    unsafe {
        match count {
            1 => rows!(all, 0),
            2 => rows!(all, 0 1),
            3 => rows!(all, 0 1 2),
            4 => rows!(all, 0 1 2 3),
            5 => rows!(all, 0 1 2 3 4),
            6 => rows!(all, 0 1 2 3 4 5),
            7 => rows!(all, 0 1 2 3 4 5 6),
            8 => rows!(all, 0 1 2 3 4 5 6 7),
            9 => rows!(all, 0 1 2 3 4 5 6 7 8),
            10 => rows!(all, 0 1 2 3 4 5 6 7 8 9),
            11 => rows!(all, 0 1 2 3 4 5 6 7 8 9 10),
            _ => rows!(all, 0 1 2 3 4 5 6 7 8 9 10 11),
        }
    }
}
