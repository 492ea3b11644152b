"""What `gate_rates.py` is made of: data with a known true drop, the rules under test, the experiments, the report."""
