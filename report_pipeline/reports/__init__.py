"""Reports: what they are, their rows, and how they are published.

A report is a folder of YAML and SQL (`definition`, `check`). Its rows for a window come from SQL over
the window's events (`compute`, `build`), go to DynamoDB whole or not at all (`store`), and out of it as
text or Parquet (`export`).
"""
