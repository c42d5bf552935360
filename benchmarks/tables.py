"""What the benchmarks found, as tables of text."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from benchmarks import machine
from benchmarks.cases import IMPLEMENTATIONS, OURS, Op, Point, missing
from benchmarks.sizes import Size

MB = 1e6
RATIO, NAME = 22, 19  # widths of a column of ratios, and of one of implementations
GROWING = {"batch": "B", "width": "H", "examples": "N"}


@dataclass(frozen=True)
class Record:
    """What was measured at a point: median and fastest of its rounds, and the ratios to those it alternated with."""

    point: Point
    op: Op
    seconds: float
    fastest: float
    against: str | None
    ratio: dict[str, float] | None
    peak_memory: int | None
    about: dict

    @property
    def rate(self) -> tuple[str, float]:
        """Of work, with its unit."""
        return self.op.rate(self.point.size, self.seconds)


@dataclass(frozen=True)
class Start:
    """Seconds of a fresh process; `state` is "cold", "warm" or "". Bytes and files of its compiled code."""

    what: str
    implementation: str
    state: str
    seconds: float
    cache_bytes: int
    cache_files: int


@dataclass
class Results:
    """All that one run has measured."""

    records: list[Record] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)


def lines(results: Results) -> Iterator[str]:
    """All tables that there is something for."""
    if not results.records and not results.starts:
        return
    at_sizes = [r for r in results.records if not r.point.series]
    yield from step_tables([r for r in at_sizes if r.point.op in ("step", "products")])
    inference = ("transform_", "decode_", "sample_")
    called = [r for r in at_sizes if r.point.op.startswith(inference)]
    yield from op_table("INFERENCE, from arrays to arrays; the number is that of the rows", called)
    kernels = [r for r in at_sizes if r not in called and r.point.op not in ("step", "products")]
    yield from op_table("KERNELS", kernels)
    yield from growth_tables([r for r in results.records if r.point.series])
    yield from start_table(results.starts)
    yield from environment({r.point.implementation: r.about for r in results.records if not r.point.threads})


def title(text: str) -> list[str]:
    return ["", text, "-" * len(text)]


def times(ratio: float) -> str:
    """A ratio with as many digits as mean something."""
    return f"{ratio:.{3 if ratio < 0.1 else 2 if ratio < 100 else 0}f}"


def spread(ratio: dict[str, float] | None) -> str:
    """Median, smallest and largest of the rounds."""
    if not ratio:
        return ""
    median, least, most = (times(ratio[key]) for key in ("median", "min", "max"))
    return f"{median} ({least}..{most})"


def microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}" if seconds < 0.1 else f"{1e6 * seconds:,.0f}"


def on_gpu(implementation: str) -> bool:
    """Whether it is beside the others for comparison of devices, and no peer."""
    return IMPLEMENTATIONS[implementation].device != "cpu"


def note_on_gpus(records: list[Record]) -> Iterator[str]:
    """What the figures of a GPU are, where there are any."""
    if names := dict.fromkeys(r.point.implementation for r in records if on_gpu(r.point.implementation)):
        yield f"\n{', '.join(names)}: on a GPU, no peer. Its ratio is its time / that of fastvae on the CPU"


# ---- a step -----------------------------------------------------------------------------------------------------


def step_tables(records: list[Record]) -> Iterator[str]:
    """One table a size: time, ratio, rate, how far from the products alone, memory."""
    if not records:
        return
    yield from title("A TRAINING STEP, by size. Ratio: time / fastvae's in turn, above 1 fastvae is faster")
    for size, group in groupby(records, key=lambda r: r.point.size):
        found = list(group)
        products = products_of(found)
        yield f"\n{size.name}: {size.D}-{size.H}-{size.Z}, batch {size.B}{share(found, products)}"
        heads = f"{'GFLOP/s':>10}{'/products':>10}{'peak MB':>9}{'grown':>8}"
        yield f"{'':{NAME}}{'us a step':>12}{'ratio (min..max)':>{RATIO}}{heads}"
        for r in found:
            if r.point.op == "step":
                comparable = products and not on_gpu(r.point.implementation)
                beside = f"{r.fastest / products.fastest:10.2f}" if comparable else " " * 10
                note = f"  / {r.against}" if r.against not in (None, OURS) else ""
                yield (
                    f"{r.point.implementation:<{NAME}}{microseconds(r.seconds):>12}{spread(r.ratio):>{RATIO}}"
                    f"{r.rate[1]:10.1f}{beside}{memory(r)}{note}"
                )
    yield "\n/products: a step / its matrix products alone, by the fastest rounds of each, which other programs disturb"
    yield "least. peak: the most memory that the process holds while it trains; grown: since its imports were done"
    yield from note_on_gpus(records)


def products_of(records: list[Record]) -> Record | None:
    """The products alone: ours where they were measured, or else the fastest."""
    found = [r for r in records if r.point.op == "products"]
    return min(found, key=lambda r: (r.point.implementation != OURS, r.fastest), default=None)


def share(records: list[Record], products: Record | None) -> str:
    """How much of fastvae's step the products alone would take."""
    ours = [r for r in records if r.point.op == "step" and r.point.implementation == OURS]
    if not products:
        return ""
    text = f"; the products alone, by {products.point.implementation}: {microseconds(products.fastest)} us"
    return text + (f", {products.fastest / ours[0].fastest:.0%} of fastvae's step" if ours else "")


def memory(r: Record) -> str:
    """Peak and growth in MB."""
    if r.peak_memory is None:
        return ""
    return f"{r.peak_memory / MB:9.0f}{(r.peak_memory - r.about['memory_at_start']) / MB:8.0f}"


# ---- ops and inference ------------------------------------------------------------------------------------------


def op_table(heading: str, records: list[Record]) -> Iterator[str]:
    """One line an op: fastvae's time and rate, and each peer's ratio."""
    if not records:
        return
    yield from title(f"{heading}. Ratio: time / fastvae's, above 1 fastvae is faster")
    peers = list(dict.fromkeys(r.point.implementation for r in records if r.point.implementation != OURS))
    width = 5 + max(len(r.point.op) for r in records)
    yield f"{'':{width}}{'us':>10}{'':>16}" + "".join(f"{peer:>{RATIO}}" for peer in peers)
    for (name, op), group in groupby(records, key=lambda r: (r.point.size.name, r.point.op)):
        by = {r.point.implementation: r for r in group}
        ours = by.get(OURS)
        unit, rate = ours.rate if ours else ("", 0.0)
        figures = f"{microseconds(ours.seconds):>10}{rate:8.1f} {unit:<7}" if ours else " " * 26
        ratios = (spread(by[peer].ratio) if peer in by else "" for peer in peers)
        yield f"{f'{name:<3} {op}':<{width}}{figures}" + "".join(f"{ratio:>{RATIO}}" for ratio in ratios)
    yield from note_on_gpus(records)


# ---- growth -----------------------------------------------------------------------------------------------------


def growth_tables(records: list[Record]) -> Iterator[str]:
    """One table a series: fastvae's time, a row's share of it, and each peer's ratio; all of the fastest rounds."""
    for series, group in groupby(records, key=lambda r: r.point.series):
        found = list(group)
        letter = GROWING.get(series)
        first = found[0].point.size
        fixed = ", ".join(f"{k} {v}" for k, v in shape(first).items() if letter and k not in (letter, "N"))
        yield from title(
            f"GROWTH with the {series}{f' {letter}; {fixed}' if letter else ''}. A step, and time / fastvae's"
        )
        peers = [
            name for name in IMPLEMENTATIONS if name != OURS and any(r.point.implementation == name for r in found)
        ]
        yield f"{'':>16}{'us':>12}{'us a row':>11}{'GFLOP/s':>10}" + "".join(f"{p:>9}" for p in peers) + "   best peer"
        for (size, threads), at_once in groupby(found, key=lambda r: (r.point.size, r.point.threads)):
            by = {r.point.implementation: r for r in at_once}
            label = f"{shape(size)[letter]:,}" if letter else f"{size.name}, {threads} thread{'s' * (threads > 1)}"
            yield growth_line(label, size, by, peers)
        yield from speedups(found)


def shape(size: Size) -> dict[str, int]:
    return {letter: getattr(size, letter) for letter in "BDHZN"}


def growth_line(label: str, size: Size, by: dict[str, Record], peers: list[str]) -> str:
    ours = by.get(OURS)
    text = f"{label:>16}"
    if ours:
        _, rate = ours.op.rate(size, ours.fastest)
        text += f"{microseconds(ours.fastest):>12}{1e6 * ours.fastest / size.B:11.2f}{rate:10.1f}"
    else:
        text += " " * 33
    ratios = {peer: by[peer].ratio["fastest"] for peer in peers if peer in by and by[peer].ratio}
    text += "".join(f"{ratios[peer]:9.2f}" if peer in ratios else " " * 9 for peer in peers)
    best = min((peer for peer in ratios if not on_gpu(peer)), key=ratios.__getitem__, default=None)
    return text + (f"   {best} {ratios[best]:.2f}" if best else "")


def speedups(records: list[Record]) -> Iterator[str]:
    """How much faster each implementation is with the most threads than with 1."""
    for size in dict.fromkeys(r.point.size for r in records if r.point.threads):
        found: dict[str, dict[int, float]] = {}
        for r in records:
            if r.point.size == size:
                found.setdefault(r.point.implementation, {})[r.point.threads] = r.fastest
        most = max(n for times in found.values() for n in times)
        gains = [f"{name} {t[1] / t[most]:.2f}" for name, t in found.items() if 1 in t and most in t and most > 1]
        if gains:
            yield f"{size.name}, time with 1 thread / with {most}: {', '.join(gains)}"


# ---- starting ---------------------------------------------------------------------------------------------------


def start_table(starts: list[Start]) -> Iterator[str]:
    """Seconds from the start of a process."""
    if not starts:
        return
    yield from title("STARTING: seconds of a fresh process, imports included, to the end of what is named")
    columns = list(dict.fromkeys(f"{s.implementation} {s.state}".strip() for s in starts))
    yield f"{'':36}" + "".join(f"{column:>14}" for column in columns)
    for what, group in groupby(sorted(starts, key=lambda s: s.what), key=lambda s: s.what):
        by = {f"{s.implementation} {s.state}".strip(): s for s in group}
        yield f"{what:<36}" + "".join(f"{by[c].seconds:14.2f}" if c in by else " " * 14 for c in columns)
        if kept := max(by.values(), key=lambda s: s.cache_bytes):
            yield f"{'  its compiled code, on disk':<36}{kept.cache_bytes / MB:10.2f} MB in {kept.cache_files} files"


# ---- what the figures belong to -----------------------------------------------------------------------------------


def environment(described: dict[str, dict]) -> Iterator[str]:
    """Processor, and of each implementation its versions and threads, or why it is left out."""
    about = machine.describe_machine()
    yield from title("MEASURED ON")
    features = " ".join(about["features"]) or "no vector extensions known here"
    yield f"{about['processor']} ({about['architecture']}), {about['cores']} cores, {features}"
    yield f"{about['system']}, Python {about['python']}"
    if busy := machine.busy():
        yield from textwrap.wrap(f"WARNING: {busy}", 100)
    for name in IMPLEMENTATIONS:
        if reason := missing(name):
            yield f"{name}: left out, {reason}"
        elif name in described:
            one = described[name]
            versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items())
            where = one.get("device") or f"{one['threads']} threads, {one['pool']}"
            yield f"{name}: {versions}; {where}"
