"""What this project is measured with; run each with ``python -m benchmarks.NAME``."""
