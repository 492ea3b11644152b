"""Golden suites as tests: what `aigate.pytest_plugin` does once it is asked. Nothing here is imported before."""
