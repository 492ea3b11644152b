"""The decision: two runs and a policy in, one verdict out."""
