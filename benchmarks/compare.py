"""fastvae beside NumPy, PyTorch and JAX on this machine, in turns, as a table.

    python benchmarks/compare.py
    python benchmarks/compare.py --size XS S M L --what step transform decode sample
    python benchmarks/compare.py --by fastvae torch_compile --rounds 31 --json results.json
    python benchmarks/compare.py --what dense latent --threads 1

Each implementation runs alone in a process of its own; a round is some steps by each of them, one after the other.
What counts is the ratio within a round, peer's time / ours (above 1: fastvae is faster): its median, the smallest and
the largest of all rounds; and the ratio of each one's fastest round. `--what` takes the name of an op of `bench_*.py`,
or the beginning of one, or all. Where there is a GPU, fastvae on it is compared with fastvae on the CPU as peers are.
"""

import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks import machine
from benchmarks.cases import IMPLEMENTATIONS, OURS, Op, all_ops, missing
from benchmarks.sizes import DEFAULT_SIZE, SIZES, Size
from benchmarks.tables import environment, times
from benchmarks.workers import Workers, ratios

WIDTHS = {"median": 8, "min": 8, "max": 8, "fastest": 10}  # of the columns of ratios


def arguments(ops: dict[str, Op]) -> argparse.Namespace:
    """Parse the command line; `what` becomes names of ops."""
    summary = __doc__.split("\n", 1)[0]
    parser = argparse.ArgumentParser(description=summary, epilog="ops: " + ", ".join(ops))
    parser.add_argument("--size", nargs="+", default=[DEFAULT_SIZE], choices=SIZES, help="default: %(default)s")
    parser.add_argument("--what", nargs="+", default=["step"], metavar="OP", help="default: step")
    parser.add_argument("--by", nargs="+", default=list(IMPLEMENTATIONS), choices=IMPLEMENTATIONS, help="default: all")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--round-seconds", type=float, default=0.1, help="length of a round; default: %(default)s")
    parser.add_argument("--threads", type=int, help="of each implementation; default: what each chooses itself")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every round there")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.round_seconds <= 0 or (chosen.threads is not None and chosen.threads < 1):
        parser.error("--rounds and --threads must be at least 1, --round-seconds above 0")
    names: list[str] = []
    for what in chosen.what:
        found = [n for n in ops if what in ("all", n) or n.startswith(f"{what}_")]
        if not found:
            parser.error(f"--what {what}: the ops are {', '.join(ops)}")
        names += [n for n in found if n not in names]
    chosen.what = names
    return chosen


def interleaved(workers: Workers, present: list[str], op: str, size: Size, rounds: int, length: float) -> dict:
    """Seconds a step of each implementation, round by round."""
    for name in present:
        workers[name].build(op, size, length)
    times: dict[str, list[float]] = {name: [] for name in present}
    for i in range(rounds):
        for name in present if i % 2 else reversed(present):
            times[name].append(workers[name].round())
    return times


def rows(record: dict) -> Iterator[str]:
    """The lines of the table for one op at one size."""
    first = f"{record['op']:<32}{record['size']:<6}"
    for name, seconds in record["seconds"].items():
        median = statistics.median(seconds)
        ratio = record["ratio"].get(name)
        compared = "".join(f"{times(ratio[key]):>{width}}" for key, width in WIDTHS.items()) if ratio else ""
        unit, rate = record["rate"][name]
        yield f"{first}{name:<18}{1e6 * median:11.1f} us {rate:8.1f} {unit:<8}{compared}".rstrip()
        first = " " * len(first)


def main() -> None:
    """Measure and print."""
    ops = all_ops()
    chosen = arguments(ops)
    wanted = {name for op in chosen.what for name in ops[op].build} & {*chosen.by}
    present = [name for name in IMPLEMENTATIONS if name in wanted and not missing(name)]
    records = []
    with Workers(chosen.threads) as workers:
        described = {name: workers[name].description for name in present}
        print("\n".join(environment(described)))
        heads = f"{'a step':>14}{'':18}{'ratio':>8}{'min':>8}{'max':>8}{'fastest':>10}"
        print(f"\n{'op':<32}{'size':<6}{'by':<18}{heads}")
        for size in chosen.size:
            for op in chosen.what:
                able = [name for name in present if name in ops[op].build]
                times = interleaved(workers, able, op, SIZES[size], chosen.rounds, chosen.round_seconds)
                rate = {n: ops[op].rate(SIZES[size], statistics.median(s)) for n, s in times.items()}
                ratio = {n: ratios(times[n], times[OURS]) for n in able if n != OURS and OURS in able}
                records.append({"op": op, "size": size, "seconds": times, "rate": rate, "ratio": ratio})
                print("\n".join(rows(records[-1])), flush=True)
    if chosen.json:
        about = {**machine.describe_machine(), "busy": machine.busy(), **described}
        chosen.json.write_text(json.dumps({"machine": about, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
