"""What `runner.py` is made of: the endpoint, the contenders, the processes that are measured, scenarios, the report."""
