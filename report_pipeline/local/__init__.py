"""What runs on this machine alone: the embedded DynamoDB, the processes of `make run`, and how they end."""
