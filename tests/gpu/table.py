"""The lines of JSON of tests/gpu/run as one table in Markdown."""

import datetime
import json
import platform
import sys

lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]


def number(value, unit=""):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}{unit}"
    return f"{value:.3g}{unit}"


def percent(value):
    return "-" if value is None else f"{100 * value:.1f} %"


print(f"{datetime.date.today()}, {platform.system()} {platform.machine()}")
for line in lines:
    if "read_gb_s" in line:
        print(f"\nDevice: {line['device']}, driver {line['driver']}. Measured there: reads", end=" ")
        print(f"{number(line['read_gb_s'])} GB/s; products f32 {number(line['f32_gflop_s'])},", end=" ")
        print(f"f16 {number(line['f16_gflop_s'])}, cooperative", end=" ")
        print(f"{number(line['cooperative_gflop_s'])} Gflop/s; a launch", end=" ")
        print(f"{number(line['launch_us'])} us.")
    if "note" in line:
        print(f"\n{line['note'].capitalize()}.")
    if "matmul_f16_gflop_s" in line:
        print(f"\nPyTorch {line['version']} on {line['device']}: product of f16 matrices", end=" ")
        print(f"{number(line['matmul_f16_gflop_s'])} Gflop/s, copies {number(line['copy_gb_s'])} GB/s.")

print("\n| model | by | prefill tokens/s | of the matrix rate | decode tokens/s |", end=" ")
print("of the bandwidth | launches a token | texts/s | of the matrix rate | one text, ms | launches |")
print("|---|---|---|---|---|---|---|---|---|---|---|")
for line in lines:
    if "model" not in line:
        continue
    by = line.get("peer", "emberform")
    if line.get("precision") == "f16":
        by += ", f16"
    if "failed" in line:
        print(f"| {line['model']} | {by} | {line['failed'][:200]} |" + " |" * 8)
        continue
    cells = [
        number(line.get("prefill_tokens_s")),
        percent(line.get("prefill_of_matrix_rate")),
        number(line.get("decode_tokens_s")),
        percent(line.get("decode_of_bandwidth")),
        number(line.get("launches_token")),
        number(line.get("texts_s")),
        percent(line.get("embed_of_matrix_rate")),
        number(line.get("single_ms")),
        number(line.get("launches_text")),
    ]
    print(f"| {line['model']} | {by} | " + " | ".join(cells) + " |")
