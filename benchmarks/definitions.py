"""Time to load the definitions against `import dagster` alone, each in a new process."""

import os
import subprocess
import sys

from benchmarks.results import paired, report, timed

_DEFINITIONS = """
import dagster
from report_pipeline.definitions import build_defs
build_defs().get_repository_def().load_all_definitions()
"""


def main() -> None:
    """Print the ratio."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def python(code: str) -> float:
        return timed(lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment))

    python(_DEFINITIONS)  # writes the bytecode
    loading, importing = paired(lambda: python(_DEFINITIONS), lambda: python("import dagster"), rounds=7)
    report("load_definitions", value=loading, unit="s", baseline=importing, aim=1.5)
