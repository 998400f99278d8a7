"""The table of docs/performance.md: `make bench > results.jsonl`, then `python -m benchmarks._table results.jsonl`."""

import json
import sys
from pathlib import Path


def main() -> None:
    """Print the results in a file of JSON lines as a table in Markdown."""
    print("| result | ours | held against | ratio | aim | |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for line in Path(sys.argv[1]).read_text().splitlines():
        if not line.startswith("{"):
            continue  # what make says
        found = json.loads(line)
        ours, other = (f"{_number(found[name])} {found['unit']}" for name in ("value", "baseline"))
        bound = "≥" if (found["ratio"] > found["aim"]) == found["met"] else "≤"
        met = "met" if found["met"] else "**missed**"
        print(f"| `{found['name']}` | {ours} | {other} | {found['ratio']:.2f} | {bound} {found['aim']:g} | {met} |")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
