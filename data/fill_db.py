"""Fill the events table from files: `python data/fill_db.py FILE…` is `report-pipeline fill FILE…`."""

import sys

from report_pipeline.cli import main

if __name__ == "__main__":
    main(["fill", *sys.argv[1:]])
