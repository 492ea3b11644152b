"""The command line: parse, call, map the status to an exit code."""
