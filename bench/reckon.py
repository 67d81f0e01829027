"""What many chunks cost in machines, memory, money and time: arithmetic on what was measured here and on cited prices.

    python -m bench.reckon          # the tables of docs/scale.md

Nothing is measured. Figures of ours come from bench/results.json, others from the sources named at them.
"""

import json
from pathlib import Path
from typing import Any

SIZES = {"100 million": 100_000_000, "10 billion": 10_000_000_000}
SEARCHES_PER_S = 10

# Amazon EC2 in us-east-1, m7g.large on demand, June 2026: dollars an hour of 2 vCPUs with 8 GiB.
# https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/
UNIT_PRICE, UNIT_CORES, UNIT_GIB = 0.0816, 2, 8
# EC2 Capacity Blocks, p5.48xlarge, 2024: dollars an hour of one H100. https://aws.amazon.com/ec2/capacityblocks/pricing/
GPU_PRICE = 4.916
# H100 SXM, BF16 without sparsity. https://www.nvidia.com/en-us/data-center/h100/
GPU_FLOPS = 989e12
GPU_SHARE = 0.2  # of it that a small encoder on short texts reaches; assumed, not measured
# multilingual-e5-small: 12 layers of width 384, 12 * 384**2 weights each; 2 operations a weight and token. Texts of 250
# tokens: ingest.chunk_tokens = 200 with title and headings.
CHUNK_FLOP = 2 * 12 * 12 * 384**2 * 250
DIMENSION = 384
# Milvus, HNSW: 31.2 GiB for 22.9 GiB of vectors (8 million of 768, M = 4).
# https://www.alibabacloud.com/help/en/milvus/user-guide/milvus-resource-estimation-and-configuration-recommendations
HNSW_FACTOR = 31.2 / 22.9
# Milvus, IVF_RABITQ: one bit a dimension (1 to 32), here refined from one byte a dimension (SQ8).
# https://milvus.io/docs/ivf-rabitq.md
RABITQ_BYTES = DIMENSION / 8 + DIMENSION

HOUR, MONTH, DAY, GIB, TIB = 3600.0, 730.0, 24.0, 2**30, 2**40


def factors(results: dict[str, Any]) -> dict[str, float]:
    """What one chunk takes, as measured: seconds of a core and of the one who commits, bytes of memory and disk."""
    million, store, speed = results["latency"]["1000000"], results["scale"]["100000"], results["indexing"]["speed"]
    return {
        "core_s": results["indexing"]["environment"]["cpus"] / speed["chunks_per_s"],
        "reading_s": speed["rest_cpu_s"] / speed["chunks"],
        "memory": million["resident_mib"] * 2**20 / million["chunks"],
        "disk": store["files"]["disk_mib"] * 2**20 / 100_000,
        "disk_pg": store["postgresql"]["disk_mib"] * 2**20 / 100_000,
        "commit_s": million["fill_s"] / million["chunks"],
        "commit_pg_s": store["postgresql"]["write_s"] / 100_000,
        "search_s": million["hybrid"]["p50_ms"] / 1000 / million["chunks"],
    }


def rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """What is reckoned, a row each: its name and the figure for each of `SIZES`."""
    f = factors(results)
    core_price = UNIT_PRICE / UNIT_CORES
    gpu_s = CHUNK_FLOP / (GPU_FLOPS * GPU_SHARE)

    def each(name: str, figure: Any) -> tuple[str, ...]:
        return (name, *(figure(n) for n in SIZES.values()))

    def money(amount: float) -> str:
        return f"${figure(amount)}"

    def units(n: int) -> float:
        """Machines of 2 cores and 8 GiB: enough for the vectors in memory, and for the searches."""
        return max(n * f["memory"] / GIB / UNIT_GIB, n * f["search_s"] * SEARCHES_PER_S / UNIT_CORES)

    return [
        each("reading and embedding, cores", lambda n: f"{figure(n * f['core_s'] / HOUR)} core hours"),
        each("the same in money", lambda n: money(n * f["core_s"] / HOUR * core_price)),
        each("embedding on an H100", lambda n: f"{figure(n * gpu_s / HOUR)} GPU hours"),
        each("the same in money", lambda n: money(n * gpu_s / HOUR * GPU_PRICE)),
        each("reading and cutting beside it", lambda n: f"{figure(n * f['reading_s'] / HOUR)} core hours"),
        each("one committer, files", lambda n: f"{figure(n * f['commit_s'] / HOUR / DAY)} days"),
        each("one committer, PostgreSQL", lambda n: f"{figure(n * f['commit_pg_s'] / HOUR / DAY)} days"),
        each("disk, files", lambda n: f"{figure(n * f['disk'] / TIB)} TiB"),
        each("disk, PostgreSQL", lambda n: f"{figure(n * f['disk_pg'] / TIB)} TiB"),
        each("memory, files (FAISS, tantivy)", lambda n: f"{figure(n * f['memory'] / TIB)} TiB"),
        each("memory, Milvus HNSW", lambda n: f"{figure(n * DIMENSION * 4 * HNSW_FACTOR / TIB)} TiB"),
        each("memory, Milvus IVF_RABITQ", lambda n: f"{figure(n * RABITQ_BYTES / TIB)} TiB"),
        each("one hybrid search, files", lambda n: f"{figure(n * f['search_s'])} core seconds"),
        each("machines, files", lambda n: f"{figure(units(n))}"),
        each("the same in money", lambda n: f"{money(units(n) * UNIT_PRICE * MONTH)} a month"),
    ]


def figure(value: float) -> str:
    """Two digits that count."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def table(results: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = ["| | " + " | ".join(f"{name} chunks" for name in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows(results)])


if __name__ == "__main__":
    measured = json.loads((Path(__file__).parent / "results.json").read_text("utf-8"))
    for name, value in factors(measured).items():
        print(f"{name} = {value:.3g}")
    print(table(measured))
