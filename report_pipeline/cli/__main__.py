"""`python -m report_pipeline.cli`, for where the script is not on the path."""

from report_pipeline.cli import main

main()
