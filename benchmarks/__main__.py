"""Run all benchmarks, or those named: `python -m benchmarks [NAME …]`."""

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Run the benchmarks in the order of their names."""
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    known.remove("results")
    chosen = sys.argv[1:] or known
    for name in chosen:
        if name not in known:
            sys.exit(f"There is no benchmark {name!r}; there are: {', '.join(known)}.")
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
