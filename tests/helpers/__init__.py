"""What several tests need, beside the fixtures of conftest.py."""
